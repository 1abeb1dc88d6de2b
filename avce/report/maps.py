"""Activation maps per axis: where in the image a valence or an arousal comes from.

`integrated`: integrated gradients (Sundararajan et al. 2017) from the image's mean colour, summed
over cells. They add up to what the output differs by from that of the plain colour, whatever the
network, and of all kinds they were best in `benchmarks/maps.py`.

The others look at a feature map A of the encoder. The network behind A is piecewise linear, so
M_k = sum_c A_c * dx_k/dA_c is its exact linearised contribution: summed over the places it is x_k,
less what the biases add. `early` does so at the finest grid, which costs one pass; `linear` at the
last map that still has a place, which at 112 pixels has four. Where that is pooled to one place
(ResNet) the same formula is CAM (Zhou et al. 2016) up to a constant. `grad-cam` (Selvaraju et al.
2017) averages the gradient over the places there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from avce.method.base import Method
from avce.method.contrastive import Views
from avce.method.models import AVModel
from avce.scores.evaluate import evaluating

Kind = Literal["integrated", "early", "linear", "grad-cam"]
Head = Literal["regressor", "projection_head"]

STEPS = 16  # of the integral: the sum is then right to about 5 %
CELLS = 28  # along a side: coarse enough to be read, and pixel by pixel is noise


class AxisMaps(NamedTuple):
    """Signed contributions of each place, and what the network said."""

    grid: Tensor  # (b, k, i, j)
    output: Tensor  # (b, k)

    def shown(self, size: tuple[int, int]) -> Float[Tensor, "b k h w"]:
        """Maps to lay over images of `size`, each in [0, 1]: what speaks for the sign of the
        output, ReLU(sign(x_k) M_k)."""
        kept = F.relu(self.output.sign()[..., None, None] * self.grid)
        return stretched(F.interpolate(kept, size, mode="bilinear", align_corners=False))


def stretched(maps: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b h w"]:
    """Each map from its least to its largest value onto [0, 1]; a constant one becomes 0."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low).clamp(min=1e-30), 0.0)


def mean_map(shown: Float[Tensor, "b k h w"]) -> Float[Tensor, "b h w"]:
    """The mean over the axes, the one tile of the fluctuation figure."""
    return stretched(shown.mean(1))


def axis_maps(
    method: Method,
    image: Float[Tensor, "b 3 h w"],
    *,
    head: Head = "regressor",
    kind: Kind = "linear",
) -> AxisMaps:
    """One signed map an axis, in eval mode; the mode of the method is as before afterwards.

    `head` is R, or H behind the SparseMax view (the "AVCE (H)" of the poster; its tanh makes the
    map a linearisation only). Raises ValueError for a method without H, or for an encoder without a
    spatial map where the kind needs one.
    """
    network = Network(method.model, _reader(method, head))
    with evaluating(method):
        return AxisMaps(*(t.detach() for t in _WAYS[kind](network, image.detach())))


class Network(NamedTuple):
    """From images to the axes, through R or H."""

    model: AVModel
    read: Callable[[Tensor], Tensor]

    def __call__(self, image: Tensor) -> Tensor:
        return self.read(self.model.compressor(self.model.encoder(image)))


def integrated(network: Network, image: Tensor, cells: int = CELLS) -> tuple[Tensor, Tensor]:
    """Integrated gradients by midpoints, summed over so many cells a side, and the output."""
    start, slope = plain(image), torch.zeros(())
    with torch.enable_grad():
        for step in range(STEPS):
            at = torch.lerp(start.expand_as(image), image, (step + 0.5) / STEPS).requires_grad_()
            slope = slope + _slopes(network(at), [at])[0] / STEPS
    with torch.no_grad():
        output = network(image)
    grid, side = contributions(image - start, slope), max(1, min(image.shape[-2:]) // cells)
    return F.avg_pool2d(grid, side, ceil_mode=True, divisor_override=1), output


def _early(network: Network, image: Tensor) -> tuple[Tensor, Tensor]:
    features, slopes, output = located(network, image)
    return contributions(features[0], slopes[0]), output


def _linear(network: Network, image: Tensor) -> tuple[Tensor, Tensor]:
    features, slopes, output = located(network, image)
    return contributions(features[-1], slopes[-1]), output


def _grad_cam(network: Network, image: Tensor) -> tuple[Tensor, Tensor]:
    features, slopes, output = located(network, image)
    return contributions(features[-1], slopes[-1].mean((-2, -1), keepdim=True)), output


_WAYS: dict[Kind, Callable[[Network, Tensor], tuple[Tensor, Tensor]]] = {
    "integrated": integrated,
    "early": _early,
    "linear": _linear,
    "grad-cam": _grad_cam,
}


def contributions(
    features: Float[Tensor, "b c i j"], slopes: Float[Tensor, "b k c #i #j"]
) -> Float[Tensor, "b k i j"]:
    """What each place adds to each axis."""
    return (features[:, None] * slopes).sum(2)


def plain(image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 1 1"]:
    """The mean colour of each image, the ground against which a place counts."""
    return image.mean((-2, -1), keepdim=True)


def _slopes(output: Tensor, features: Sequence[Tensor]) -> list[Float[Tensor, "b k *shape"]]:
    each = [
        torch.autograd.grad(output[:, k].sum(), features, retain_graph=True)
        for k in range(output.shape[1])
    ]
    return [torch.stack(of_one, 1) for of_one in zip(*each, strict=True)]


def reads_views(method: Method) -> bool:
    """Whether H was trained to say valence and arousal, so that it has maps of its own."""
    if "projection_head" not in method.networks or not isinstance(method, Views):
        return False
    parts = method.get_submodule("projection_head").modules()
    wide = [part.out_features for part in parts if isinstance(part, nn.Linear)]
    return bool(wide) and wide[-1] == 2


def _reader(method: Method, head: Head) -> Callable[[Tensor], Tensor]:
    """From z to the axes, through R or through the attentive view and H."""
    if head == "regressor":
        return method.model.regressor
    if head not in method.networks or not isinstance(method, Views):
        raise ValueError(
            "this run has no projection head (it was trained without a contrastive term); draw "
            "the maps of its regressor"
        )
    project = method.get_submodule(head)
    return lambda z: project(method.views_of(z)[0])


def located(
    network: Network, image: Tensor
) -> tuple[list[Tensor], list[Float[Tensor, "b k c i j"]], Tensor]:
    """The last feature map of each grid of more than one place, finest first, the slopes of the
    output there, and the output."""
    with torch.enable_grad(), _watched(network.model.encoder) as seen:
        output = network(image.requires_grad_())
        features = list(seen.values())
        if not features:
            raise ValueError(
                f"encoder {type(network.model.encoder).__name__} has no spatial feature map, so "
                "nothing can be located in the image; use a convolutional encoder"
            )
        return features, _slopes(output, features), output


@contextmanager
def _watched(encoder: nn.Module) -> Iterator[dict[torch.Size, Tensor]]:
    """Collects, by grid, the encoder's latest output (b, c, i, j), ij > 1, in the block."""
    latest: dict[torch.Size, Tensor] = {}

    def keep(_module: nn.Module, _given: object, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output.shape[-2:].numel() > 1:
            latest[output.shape[-2:]] = output

    handles = [part.register_forward_hook(keep) for part in encoder.modules()]
    try:
        yield latest
    finally:
        for handle in handles:
            handle.remove()


# ---------------------------------------------------------------------------- the checks


class Completeness(NamedTuple):
    """Whether the maps add up to the outputs, per axis."""

    gap: tuple[float, ...]  # largest |sum(M) - x| / largest |x| without biases: rounding only
    from_biases: tuple[float, ...]  # mean |x - sum(M)| / mean |x| of the method as it is


def completeness(method: Method, image: Float[Tensor, "b 3 h w"]) -> Completeness:
    """Sum the linear maps of R: on a copy without biases they give x_k, up to rounding.

    Holds for piecewise linear heads, thus not with `prediction_tanh`.
    """
    bare = axis_maps(without_biases(method), image)
    gap = (bare.grid.sum((-2, -1)) - bare.output).abs().amax(0)
    whole = axis_maps(method, image)
    rest = (whole.grid.sum((-2, -1)) - whole.output).abs().mean(0)
    return Completeness(
        tuple((gap / bare.output.abs().amax(0).clamp(min=1e-12)).tolist()),
        tuple((rest / whole.output.abs().mean(0).clamp(min=1e-12)).tolist()),
    )


def integration_gap(
    method: Method, image: Float[Tensor, "b 3 h w"], found: AxisMaps
) -> tuple[float, ...]:
    """Of integrated maps of R, per axis: mean |sum(M) - (x - x of the plain colour)| / mean |x - x
    of the plain colour|; how far `STEPS` are from the integral."""
    with evaluating(method), torch.no_grad():
        shift = found.output - method.predict(plain(image).expand_as(image))
    gap = (found.grid.sum((-2, -1)) - shift).abs().mean(0)
    return tuple((gap / shift.abs().mean(0).clamp(min=1e-12)).tolist())


def without_biases(method: Method) -> Method:
    """A copy whose layers behind the convolutions only multiply: biases and norm means are 0."""
    bare = copy.deepcopy(method)
    with torch.no_grad():
        for part in bare.model.modules():
            if isinstance(part, nn.Linear | nn.BatchNorm1d) and part.bias is not None:
                part.bias.zero_()
            if isinstance(part, nn.BatchNorm1d) and part.running_mean is not None:
                part.running_mean.zero_()
    return bare


class Deletion(NamedTuple):
    """How far the output moves when a part of the image is covered, per axis."""

    top: tuple[float, ...]  # mean |change|, the map's strongest places covered
    random: tuple[float, ...]  # the same shape laid at random places
    won: tuple[float, ...]  # share of images in which the strongest places matter more


def deletion(
    method: Method,
    image: Float[Tensor, "b 3 h w"],
    *,
    share: float = 0.2,
    tries: int = 8,
    seed: int = 0,
    found: AxisMaps | None = None,
) -> Deletion:
    """Cover the strongest `share` of each map (`found`, else the linear one) with the image's mean
    colour, and the same shape moved to `tries` random places: a map that explains must matter more
    than its own outline."""
    found = found or axis_maps(method, image)
    height, width = image.shape[-2:]
    covered = strongest(found.shown((height, width)), share)
    generator = torch.Generator().manual_seed(seed)
    top = _change(method, image, found.output, covered)
    chance = torch.zeros_like(top)
    for _ in range(tries):
        dy = int(torch.randint(height, (), generator=generator))
        dx = int(torch.randint(width, (), generator=generator))
        moved = covered.roll((dy, dx), (-2, -1))
        chance += _change(method, image, found.output, moved) / tries
    won = (top > chance).double().mean(0)
    return Deletion(
        tuple(top.mean(0).tolist()), tuple(chance.mean(0).tolist()), tuple(won.tolist())
    )


def strongest(shown: Float[Tensor, "b k h w"], share: float) -> Bool[Tensor, "b k h w"]:
    """The `share` of places with the largest values; exactly so many, ties by position."""
    flat = shown.flatten(-2)
    count = max(1, round(share * flat.shape[-1]))
    chosen = flat.argsort(dim=-1, descending=True, stable=True)[..., :count]
    return torch.zeros_like(flat, dtype=torch.bool).scatter(-1, chosen, True).view(shown.shape)


def _change(method: Method, image: Tensor, before: Tensor, covered: Tensor) -> Tensor:
    """|x_k before - after| with axis k's own places covered, (b, k)."""
    fill = plain(image)
    changes = []
    with evaluating(method), torch.no_grad():
        for k in range(before.shape[1]):
            after = method.predict(torch.where(covered[:, k : k + 1], fill, image))
            changes.append((after[:, k] - before[:, k]).abs())
    return torch.stack(changes, 1)


def gini(shown: Float[Tensor, "*b h w"]) -> Float[Tensor, "*b"]:
    """How unevenly a map is spread: 0 when all places weigh the same, near 1 for one place."""
    ordered = shown.flatten(-2).double().sort(-1).values
    n = ordered.shape[-1]
    rank = torch.arange(1, n + 1, dtype=torch.float64, device=ordered.device)
    total = ordered.sum(-1)
    index = (2 * (rank * ordered).sum(-1) / total - (n + 1)) / n
    return torch.where(total > 0, index, 0.0)


def top_share(shown: Float[Tensor, "*b h w"], share: float = 0.1) -> Float[Tensor, "*b"]:
    """The part of a map's mass that lies in its strongest `share` of places; `share` if even."""
    ordered = shown.flatten(-2).double().sort(-1, descending=True).values
    count = max(1, round(share * ordered.shape[-1]))
    total = ordered.sum(-1)
    return torch.where(total > 0, ordered[..., :count].sum(-1) / total.clamp(min=1e-30), 0.0)
