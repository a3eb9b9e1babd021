"""SSDFusion's golden vector: the keys of its meta phase, `s3/*`, and of the segmentation network, `seg/*`."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from decofuse.errors import UserError
from decofuse.models.meta import UPSTREAM as META_UPSTREAM
from decofuse.models.meta import MetaModules, meta_terms
from decofuse.models.registry.ssdfusion import SSDFusionFusionWeights
from decofuse.models.ssdfusion import PARTS, SSDFusion
from decofuse.models.ssdfusion_meta import META_WEIGHTS, fuse_in_colour
from decofuse.parity.golden import Array, Golden
from decofuse.parity.ssdfusion_network import build, gradients, norms, parts, stored
from decofuse.parity.tolerance import Rule, absolute, relative, relative_l2, unjudged
from decofuse.segmentation.segnext import UPSTREAM as SEGMENTATION_UPSTREAM
from decofuse.segmentation.segnext import SegNeXt
from decofuse.settings import AdamSettings
from decofuse.training.meta import MetaTask, inner_steps, outer_gradient
from decofuse.training.optimiser import PartOptimizer

LEVELS = 3  # with segmentation maps
STEPS = (4, 2, 1)  # between stored pixels of meta features, by level
BATCHES = 3  # of the outer step, then of the inner ones
SIZES = 16  # that sides are multiples of [pixels]
META_INPUTS = frozenset(
    {
        "seg/bases",
        *(f"s3/in{j}/{name}" for j in range(BATCHES) for name in ("vi", "ir", "label")),
        *(f"s3/in{j}/seg{i}" for j in range(1, BATCHES) for i in range(LEVELS)),
    }
)
FUSION_KEYS = {"intensity": "intensity", "gradient": "gradient", "decomposition": "loss_decomp"}
Batch = Mapping[str, Tensor]
Maps = tuple[Tensor, ...]


def meta_rules(golden: Golden) -> tuple[Rule, ...]:
    """Tolerances of the keys, the first match counts.

    How far the inner phase goes is less than float32 can tell: those keys are judged in float64 alone. Arrays were
    computed by upstream in float32, scalars in float64; hence the wide float64 bounds of arrays.
    """
    maps = absolute(5e-5)
    return (
        Rule("s3/train/copy_step/*", unjudged(), relative(1e-4)),
        Rule("s3/train/step/mfe_?", unjudged(), relative(1e-4)),
        Rule("s3/train/step/ft_?", unjudged(), relative(1e-4)),
        Rule("s3/train/step/*", relative(1e-3), relative(1e-7)),
        Rule("s3/train/bn/*.num_batches_tracked", absolute(0), absolute(0)),
        Rule("s3/train/bn/*", absolute(1e-5), absolute(1e-5)),
        Rule("s3/train/outer/grad/*", relative_l2(1e-2), relative_l2(1e-2)),
        Rule("s3/*/gradnorm/*", relative(5e-3), relative(1e-7)),
        Rule("s3/*/fused", absolute(2e-5), absolute(2e-5)),
        Rule("seg/image", absolute(2e-5), absolute(2e-5)),
        Rule("s3/eval/feat_*", maps, maps),
        Rule("s3/in0/seg?", maps, maps),
        Rule("seg/*", maps, maps),
        Rule("s3/*", relative(1e-4), relative(1e-7)),
    )


def meta_probe(golden: Golden, dtype: torch.dtype) -> dict[str, Array]:
    """Compute every key of the meta phase and of the segmentation network in `dtype`.

    Raises:
        UserError: the inputs or the manifest are not of SSDFusion's form.
    """
    batches, maps = zip(*(_inputs(golden, dtype, j) for j in range(BATCHES)), strict=True)
    given = iter((*maps[1:], maps[0]))  # in the order of training
    network = build(golden, dtype)
    weights = {**SSDFusionFusionWeights().model_dump(), **META_WEIGHTS}
    task = MetaTask(network, _modules(golden, dtype), fuse_in_colour, lambda _: next(given), weights)
    found = {
        **_segmentation(_segmentation_network(golden, dtype), golden, dtype),
        **_evaluation(task, batches[0], maps[0]),
        **_inner_phase(task, batches[1:], golden),
        **_outer_step(task, batches[0], golden),
    }
    return {key: value.detach().numpy() for key, value in found.items()}


def _inputs(golden: Golden, dtype: torch.dtype, j: int) -> tuple[Batch, Maps]:
    """A batch and the segmentation maps of its fused images.

    Raises:
        UserError: an input is not of the form.
    """
    visible = torch.from_numpy(golden.array(f"s3/in{j}/vi", (None, 3, None, None), "f")).to(dtype)
    n, _, h, w = visible.shape
    infrared = torch.from_numpy(golden.array(f"s3/in{j}/ir", (n, 1, h, w), "f")).to(dtype)
    label = torch.from_numpy(golden.array(f"s3/in{j}/label", (n, 1, h, w), "u"))
    if h % SIZES or w % SIZES:
        raise UserError(
            f"{golden.vector}: expected s3/in{j}/vi of sides that are multiples of {SIZES}, found {h}x{w}; "
            "get the file again"
        )
    maps = tuple(
        torch.from_numpy(golden.array(f"s3/in{j}/seg{i}", (n, None, h // (4 << i), w // (4 << i)), "f")).to(dtype)
        for i in range(LEVELS)
    )
    return {"visible": visible, "infrared": infrared, "label": label}, maps


def _modules(golden: Golden, dtype: torch.dtype) -> MetaModules:
    """The meta modules of the manifest's sizes and weights.

    Raises:
        UserError: the manifest is not SSDFusion's.
    """
    shapes = golden.shapes.get("stage3", {})
    try:
        with torch.device("meta"):
            modules = MetaModules(
                [shapes[f"mfe_{i}.norm.weight"][0] for i in range(LEVELS)],
                [shapes[f"mfe_{i}.extractor_seg.gamma"][0] for i in range(LEVELS)],
            )
    except (KeyError, ValueError, IndexError) as error:
        raise _other_manifest(golden) from error
    golden.load(modules, META_UPSTREAM, dtype, {"": shapes})
    return modules.eval()


def _segmentation_network(golden: Golden, dtype: torch.dtype) -> SegNeXt:
    """The segmentation network of the manifest's sizes and weights.

    Raises:
        UserError: the manifest is not SSDFusion's.
    """
    shapes = golden.shapes.get("segmodel", {})
    try:
        widths = [shapes[f"backbone.block{k}.0.layer_scale_1"][0] for k in range(1, 5)]
        wide = [shapes[f"backbone.block{k}.0.mlp.fc1.weight"][0] for k in range(1, 5)]
        with torch.device("meta"):
            network = SegNeXt(
                shapes["decode_head.conv_seg.weight"][0],
                widths=widths,
                depths=[sum(fnmatchcase(n, f"backbone.block{k}.*.layer_scale_1") for n in shapes) for k in range(1, 5)],
                ratios=[hidden // width for hidden, width in zip(wide, widths, strict=True)],
                channels=shapes["decode_head.conv_seg.weight"][1],
            )
    except (KeyError, ValueError, IndexError) as error:
        raise _other_manifest(golden) from error
    golden.load(network, SEGMENTATION_UPSTREAM, dtype, {"": shapes})
    return network.eval()


def _other_manifest(golden: Golden) -> UserError:
    return UserError(f"{golden.manifest}: expected SSDFusion's manifest, found another; give ssdfusion.json")


@torch.no_grad()
def _segmentation(network: SegNeXt, golden: Golden, dtype: torch.dtype) -> dict[str, Tensor]:
    """Maps and logits of the fused images that the vector holds."""
    image = torch.from_numpy(golden.array("seg/image", (None, 3, None, None), "f")).to(dtype)
    bases = golden.array("seg/bases", (len(image), network.head.enter.out_channels, None), "f")
    maps = network.features(image)
    logits = network.head(maps[1:], torch.from_numpy(bases).to(dtype))
    named = {f"s3/in0/seg{i}": features for i, features in enumerate(maps[:LEVELS])}
    return {**named, "seg/feat3": maps[LEVELS], "seg/logits": logits}


@torch.no_grad()
def _evaluation(task: MetaTask[SSDFusion], batch: Batch, maps: Maps) -> dict[str, Tensor]:
    """Everything in evaluation mode."""
    with _fused(task.network) as images:
        fusion = task.fuse(task.network, batch)
    found = {"s3/eval/fused": images[0], "seg/image": fusion.rgb}
    for i, (features, step) in enumerate(zip(task.modules(fusion.details, maps), STEPS, strict=True)):
        found[f"s3/eval/feat_meta{i}"] = features.meta[..., ::step, ::step]
        found[f"s3/eval/feat_t{i}"] = features.transformed[..., ::step, ::step]
    terms = {**fusion.terms, **meta_terms(task.modules, fusion.details, maps)}
    found |= {f"s3/eval/{key}": terms[name] for name, key in FUSION_KEYS.items()}
    return found | _losses("s3/eval", task, terms)


def _inner_phase(task: MetaTask[SSDFusion], batches: Sequence[Batch], golden: Golden) -> dict[str, Tensor]:
    """The inner phase, and how far the copy and the meta modules went."""
    found: dict[str, Tensor] = {}
    before = _parameters(task.modules)
    moved: dict[str, Tensor] = {}
    modules = _modules_of(golden)
    for j, step in enumerate(inner_steps(task, batches)):
        prefix = f"s3/train/inner{j}"
        found |= _losses(prefix, task, step.terms) | norms(f"{prefix}/gradnorm", gradients(task.network), parts(golden))
        found |= {f"{prefix}/gradnorm/{theirs}": step.gradient_norms[ours] for theirs, ours in modules.items()}
        found[f"{prefix}/fusion_total_copy"] = task.loss(step.copy_terms)
        moved = _difference(_parameters(step.copied), _parameters(task.network))
    found |= norms("s3/train/copy_step", moved, parts(golden))
    return found | norms("s3/train/step", _difference(_parameters(task.modules), before), modules)


def _outer_step(task: MetaTask[SSDFusion], batch: Batch, golden: Golden) -> dict[str, Tensor]:
    """The outer step, and what all passes left of the batch statistics."""
    prefix = "s3/train/outer"
    with _fused(task.network) as images:
        terms = outer_gradient(task, batch)
    of_network = gradients(task.network)
    found = {f"{prefix}/fused": images[0], f"{prefix}/total": task.loss(terms)}
    found |= _losses(prefix, task, terms) | norms(f"{prefix}/gradnorm", of_network, parts(golden))
    found |= stored(f"{prefix}/grad/", of_network, golden)
    before = _parameters(task.network)
    optimizer = PartOptimizer(task.network, PARTS, AdamSettings(), joint=True)
    optimizer.clip()
    optimizer.instance.step()
    found |= norms("s3/train/step", _difference(_parameters(task.network), before), parts(golden))
    return found | stored("s3/train/bn/", task.network.state_dict(), golden)


def _losses(prefix: str, task: MetaTask[SSDFusion], terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Meta terms a level, and the weighted sums of both kinds of terms."""
    meta = {name: term for name, term in terms.items() if name not in FUSION_KEYS}
    return {
        f"{prefix}/meta_mse": torch.stack([*meta.values()]),
        f"{prefix}/meta": task.loss(meta),
        f"{prefix}/fusion_total": task.loss({name: terms[name] for name in FUSION_KEYS}),
    }


@contextlib.contextmanager
def _fused(network: SSDFusion) -> Iterator[list[Tensor]]:
    """The fused luma of each pass of the network in the context."""
    images: list[Tensor] = []
    hook = network.decoder.register_forward_hook(lambda _module, _inputs, image: images.append(image.detach()))
    try:
        yield images
    finally:
        hook.remove()


def _modules_of(golden: Golden) -> dict[str, str]:
    """Upstream's name of each meta module, in the manifest, and ours."""
    theirs = dict.fromkeys(name.partition(".")[0] for name in golden.shapes["stage3"])
    return {name: str(META_UPSTREAM.translate("", name)) for name in theirs}


def _parameters(module: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def _difference(after: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor - before[name] for name, tensor in after.items()}
