"""Fusers without training in the registry."""

from decofuse.data.dataset import FUSION_TASKS
from decofuse.models.registry.method import LUMA_FROM_GREY, Method, MethodSettings
from decofuse.settings import FuseSettings


class ReferenceSettings(MethodSettings):
    """A fuser without training: grey levels are kept, not stretched."""

    fuse: FuseSettings = FuseSettings(stretch=False, rounding="nearest")


AVERAGE = Method(
    title="Average",
    source="mean of the two sources",
    module="decofuse.models.reference",
    network="Average",
    phases={},
    tasks=dict.fromkeys(FUSION_TASKS, LUMA_FROM_GREY),
    settings=ReferenceSettings,
    sizes="any",
    reach=0,
)

LAPLACIAN = Method(
    title="Laplacian pyramid",
    source="Burt and Adelson 1983; strongest detail, mean residual",
    module="decofuse.models.reference",
    network="Laplacian",
    phases={},
    tasks=dict.fromkeys(FUSION_TASKS, LUMA_FROM_GREY),
    settings=ReferenceSettings,
    sizes="at least 8 x 8",
    reach=60,
    onnx=None,  # where both details are equally strong, the last bit decides which one is taken
)
