"""Label maps that a fusion network predicts by itself."""

from typing import Protocol

import torch
from torch import Tensor

from decofuse.data.images import UInt8
from decofuse.fusing.views import as_batch
from decofuse.settings import Views


class Segmenting(Protocol):
    """A fusion network with a semantic head for so many `classes`."""

    classes: int

    def segment(self, visible: Tensor, infrared: Tensor) -> Tensor:
        """Logits N×classes×H×W of the images that it fuses."""
        ...


@torch.no_grad()
def predict_pair(network: Segmenting, visible: UInt8, infrared: UInt8, views: Views, device: torch.device) -> UInt8:
    """The class of each pixel, H×W, by the network's own head.

    Args:
        network: on `device`, in evaluation mode.
        visible: H×W×3 RGB or H×W.
        infrared: the same size.
        views: what the network is given of them.
        device: where to compute.
    """
    seen = as_batch([visible], views.source_a, device), as_batch([infrared], views.source_b, device)
    classes: UInt8 = network.segment(*seen)[0].argmax(dim=0).to(torch.uint8).cpu().numpy()
    return classes
