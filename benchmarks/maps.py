"""Which maps show where a prediction comes from? Measured on faces whose parts are known.

    python benchmarks/maps.py [RUN or model.safetensors ...] [--people 24] [--each 2] [--level easy]

Draws people that no stand-in data set holds, cuts their faces as the model's own were, and lays
every kind of map over them (without a model: over the starter). Of each kind, mean over both axes
with 95 % intervals over people:

- gap: |sum of the map - (output - output of the mean colour)|, of the mean |difference|; 0 means
  that the map is complete. Occlusion and the maps that know nothing promise no sum.
- deletion: the strongest places of the map are covered with the mean colour, 2 to 50 % of them:
  how far the output goes towards the other sign, mean over the shares, of the mean |output|.
- insertion: the same places are uncovered in a blurred picture: how far the output comes back.
- pointing: the share of what is shown that lies on the drawn brows, eyes and mouth. An even map
  would have their share of the area, which stands below.

Beside the kinds stand three maps that know nothing of the model: clouds at random, a spot in the
middle, and the drawn parts themselves.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

sys.path.insert(0, str(ROOT := Path(__file__).parent.parent))

from avce.inference.predictor import Predictor, normalised
from avce.method.base import Method
from avce.method.build import build_method
from avce.report.maps import (
    AxisMaps,
    Kind,
    Network,
    axis_maps,
    contributions,
    integrated,
    located,
    plain,
    strongest,
)
from avce.scores.evaluate import evaluating
from shards.standins.face import Drawing, Identity, Scene, render, units_for, wanted_point

PARTS = {"brow": (17, 22), "other brow": (22, 27), "eye": (36, 42), "other eye": (42, 48),
         "mouth": (48, 60)}  # fmt: skip  # of the 68 landmarks
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
SEED = 20_000  # of people: stand-ins count theirs from a data set's own seed


class Faces(NamedTuple):
    """Drawn faces as a model sees them, and where their parts are."""

    image: Tensor  # (n, 3, h, w) normalised
    parts: Tensor  # (n, h, w) bool
    person: np.ndarray  # (n,)


def drawn(predictor: Predictor, people: int, each: int, level: str) -> Faces:
    drawings, persons = [], []
    for person in range(people):
        rng = np.random.default_rng((SEED, person))
        identity = Identity.draw(rng)
        for _ in range(each):
            units, scene = units_for(*wanted_point(rng), rng), Scene.draw(rng, level)
            drawings.append(render(identity, units, scene, 300))
            persons.append(person)
    cut = [[predictor.prepare(p, d.bbox_xyxy) for p in (d.image, _parts(d))] for d in drawings]
    image, parts = (np.stack(pictures) for pictures in zip(*cut, strict=True))
    seen = normalised(torch.from_numpy(image).permute(0, 3, 1, 2))
    return Faces(seen, torch.from_numpy(parts[..., 0] > 127), np.array(persons))


def _parts(drawing: Drawing) -> np.ndarray:
    """Brows, eyes and mouth, with 3 % of the box around them, white on black."""
    canvas = Image.new("L", drawing.image.shape[1::-1])
    brush = ImageDraw.Draw(canvas)
    left, _, right, _ = drawing.bbox_xyxy
    for first, last in PARTS.values():
        points = [*map(tuple, drawing.landmarks[first:last])]
        brush.polygon(points, fill=255)
        brush.line(
            [*points, points[0]], fill=255, width=round(0.06 * (right - left)), joint="curve"
        )
    return np.asarray(canvas.convert("RGB"))


# ---------------------------------------------------------------------------- maps


def occlusion(method: Method, image: Tensor, side: int = 7) -> AxisMaps:
    """What the output loses when a window of 1/7 of the side is covered with the mean colour
    (Zeiler & Fergus 2014), every half a window; of each pixel the mean over its windows."""
    with evaluating(method), torch.no_grad():
        output, full = method.predict(image), image.shape[-1]
        lost, often = torch.zeros(len(image), 2, full, full), torch.zeros(full, full)
        wide = full // side
        starts = sorted({*range(0, full - wide, wide // 2), full - wide})
        for place in product(*2 * [[slice(at, at + wide) for at in starts]]):
            covered = image.clone()
            covered[..., *place] = plain(image)
            lost[..., *place] += (output - method.predict(covered))[..., None, None]
            often[place] += 1
    return AxisMaps(lost / often, output)


def every_grid(method: Method, image: Tensor) -> AxisMaps:
    """The mean of the linear maps of all grids, each laid over the finest with the same sum."""
    with evaluating(method):
        features, slopes, output = located(Network(method.model, method.model.regressor), image)
    grids = [contributions(f.detach(), s) for f, s in zip(features, slopes, strict=True)]
    size = grids[0].shape[-2:]
    wide = [
        F.interpolate(g, size, mode="bilinear") * (g.shape[-2:].numel() / size.numel())
        for g in grids
    ]
    return AxisMaps(torch.stack(wide).mean(0), output.detach())


def by_pixel(method: Method, image: Tensor) -> AxisMaps:
    """Integrated gradients as they are, not summed over cells."""
    with evaluating(method):
        return AxisMaps(*integrated(Network(method.model, method.model.regressor), image, 1 << 20))


def clouds(image: Tensor) -> Tensor:
    made = torch.rand(len(image), 2, 7, 7, generator=torch.Generator().manual_seed(0))
    return F.interpolate(made, image.shape[-2:], mode="bicubic").relu()


def spot(image: Tensor) -> Tensor:
    across = torch.linspace(-1, 1, image.shape[-1])
    made = torch.exp(-(across[:, None] ** 2 + across**2) / 0.25)
    return made.expand(len(image), 2, -1, -1)


# ---------------------------------------------------------------------------- criteria


def blurred(image: Tensor) -> Tensor:
    side = image.shape[-1]
    return gaussian_blur(image, [2 * (side // 8) + 1] * 2, [side / 16] * 2)


def curve(method: Method, faces: Faces, grid: Tensor, output: Tensor, *, back: bool) -> Tensor:
    """Mean over `SHARES` of how far the output moves, (n, k): see deletion and insertion above."""
    image = faces.image
    ground = blurred(image) if back else plain(image).expand_as(image)
    start = method.predict(ground) if back else output
    moved = torch.zeros_like(output)
    for share in SHARES:
        chosen = strongest(grid, share) ^ (not back)
        for k in range(output.shape[1]):
            mixed = torch.where(chosen[:, k : k + 1], image, ground)
            change = method.predict(mixed)[:, k] - start[:, k]
            moved[:, k] += (change if back else -change) / len(SHARES)
    return moved * output.sign() / output.abs().mean(0)


def pointing(shown: Tensor, parts: Tensor) -> Tensor:
    mass = shown.sum((-2, -1))
    inside = (shown * parts[:, None]).sum((-2, -1))
    return torch.where(mass > 0, inside / mass.clamp(min=1e-30), torch.nan)


def interval(values: Tensor, person: np.ndarray, resamples: int = 1000) -> str:
    """Mean and 95 % interval over people; empty maps left out."""
    each = [values[person == p].numpy() for p in np.unique(person)]
    by_person = np.array([np.nanmean(v) if np.isfinite(v).any() else np.nan for v in each])
    rng = np.random.default_rng(0)
    again = np.nanmean(by_person[rng.integers(len(by_person), size=(resamples, len(by_person)))], 1)
    low, high = np.percentile(again, [2.5, 97.5])
    return f"{np.nanmean(by_person):.2f} [{low:.2f}, {high:.2f}]"


def measured(
    method: Method, faces: Faces, way: Callable[[], AxisMaps], sums: bool
) -> Iterator[str]:
    started = time.perf_counter()
    found = way()
    seconds = time.perf_counter() - started
    output, size = found.output, faces.image.shape[-2:]
    with evaluating(method), torch.no_grad():
        shift = output - method.predict(plain(faces.image).expand_as(faces.image))
        gap = (found.grid.sum((-2, -1)) - shift).abs() / shift.abs().mean(0)
        signed = F.interpolate(found.grid, size, mode="bilinear") * output.sign()[..., None, None]
        yield interval(gap, faces.person) if sums else "-"
        for back in (False, True):
            yield interval(curve(method, faces, signed, output, back=back), faces.person)
    yield interval(pointing(signed.relu(), faces.parts), faces.person)
    yield f"{1000 * seconds / len(output):.0f}"


def told(model: Path, people: int, each: int, level: str) -> None:
    predictor = Predictor.load(model)
    method = predictor.model
    if not isinstance(method, Method):
        exported, method = method, build_method(predictor.config, pretrained=False)
        method.model.load_state_dict(exported.state_dict())
    faces = drawn(predictor, people, each, level)
    with evaluating(method), torch.no_grad():
        output = method.predict(faces.image)
    ways: dict[str, Callable[[], AxisMaps]] = {
        kind: partial(axis_maps, method, faces.image, kind=kind) for kind in get_args(Kind)
    }
    ways |= {
        "integrated, by pixel": partial(by_pixel, method, faces.image),
        "every grid": partial(every_grid, method, faces.image),
        "occlusion": partial(occlusion, method, faces.image),
    }
    blind = {
        "(clouds at random)": clouds(faces.image),
        "(a spot in the middle)": spot(faces.image),
        "(the drawn parts)": faces.parts[:, None].float().expand(-1, 2, -1, -1),
    }
    for name, weights in blind.items():
        ways[name] = partial(AxisMaps, weights * output.sign()[..., None, None], output)
    size, area = faces.image.shape[-1], faces.parts.float().mean()
    seen = f"{size} px, {len(output)} faces of {people} people; parts: {area:.2f} of the area"
    print(f"\n{model}, {seen}\n")
    print("| map | gap | deletion | insertion | pointing | ms a face |\n|---|---|---|---|---|---|")
    for name, way in ways.items():
        sums = name != "occlusion" and name not in blind
        print("|", name, "|", " | ".join(measured(method, faces, way, sums)), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Activation maps against what was drawn.")
    parser.add_argument(
        "models", type=Path, nargs="*", default=[ROOT / "avce/starter/model.safetensors"]
    )
    parser.add_argument("--people", type=int, default=24)
    parser.add_argument("--each", type=int, default=2)
    parser.add_argument("--level", default="easy")
    words = parser.parse_args()
    for model in words.models:
        told(model, words.people, words.each, words.level)


if __name__ == "__main__":
    main()
