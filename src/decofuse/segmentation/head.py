"""Label maps that a fusion network predicts by itself."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from decofuse.data.images import UInt8
from decofuse.fusing.views import view
from decofuse.settings import Colour, Views


class Segmenting(Protocol):
    """A fusion network with a semantic head."""

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
    seen = _batch(visible, views.source_a).to(device), _batch(infrared, views.source_b).to(device)
    classes: UInt8 = network.segment(*seen)[0].argmax(dim=0).to(torch.uint8).cpu().numpy()
    return classes


def _batch(image: UInt8, colour: Colour) -> Tensor:
    seen = view(image, colour)
    return torch.from_numpy(np.ascontiguousarray(seen[None] if seen.ndim == 2 else np.moveaxis(seen, -1, 0)))[None]
