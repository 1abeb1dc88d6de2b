"""Activation maps per axis: where in the image a valence or an arousal comes from.

Let A be the last feature map that still has a place and x_k the output of axis k. The network
behind A is piecewise linear, so M_k = sum_c A_c * dx_k/dA_c is its exact linearised contribution:
summed over the places it is x_k, less what the biases add. Where A is pooled to one place (ResNet)
the same formula is CAM (Zhou et al. 2016) up to a constant. Grad-CAM (Selvaraju et al. 2017), which
averages the gradient over the places, is the option.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
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

Kind = Literal["linear", "grad-cam"]
Head = Literal["regressor", "projection_head"]


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
    map a linearisation only). Raises ValueError for an encoder without a spatial map or a method
    without H.
    """
    with evaluating(method), torch.enable_grad():
        features, output = _located(method.model, image, _reader(method, head))
        slopes = [
            torch.autograd.grad(output[:, k].sum(), features, retain_graph=True)[0]
            for k in range(output.shape[1])
        ]
    features, slope = features.detach(), torch.stack(slopes, 1)
    if kind == "grad-cam":
        slope = slope.mean((-2, -1), keepdim=True)
    return AxisMaps((features[:, None] * slope).sum(2), output.detach())


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


def _located(
    model: AVModel, image: Tensor, read: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """The last feature map with more than one place, in the graph of the output beside it."""
    with _watched(model.encoder) as seen:
        encoded = model.encoder(image.detach().requires_grad_())
        output = read(model.compressor(encoded))
    if not seen:
        raise ValueError(
            f"encoder {type(model.encoder).__name__} has no spatial feature map, so nothing can be "
            "located in the image; use a convolutional encoder"
        )
    return seen[-1], output


@contextmanager
def _watched(encoder: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the encoder's latest output of shape (b, c, i, j), ij > 1, while the block runs."""
    latest: list[Tensor] = []

    def keep(_module: nn.Module, _given: object, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() == 4 and output.shape[-2:].numel() > 1:
            latest[:] = [output]

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
    kind: Kind = "linear",
) -> Deletion:
    """Cover the strongest `share` of each map with the image's mean colour, and the same shape
    moved to `tries` random places: a map that explains must matter more than its own outline."""
    found = axis_maps(method, image, kind=kind)
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
    fill = image.mean((-2, -1), keepdim=True)
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
