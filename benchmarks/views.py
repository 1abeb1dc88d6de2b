"""Do the two views of z live? What decides it, on the same drawn faces with the same small budget.

    python benchmarks/views.py [--seeds 3] [--epochs 5] [--only published torch,none]
        [--level easy] [--set encoder=timm/tf_efficientnet_lite0 weights=PATH ...] [--out FOLDER]

All train as `avce_joint` (`benchmarks/recipes.py`: 64 pixels, batches of 32, as many steps, so as
much time), from random weights unless `--set` gives others; a variant changes the fields it names.
All is measured on the last weights and on the people held out: CCC with 95 % intervals over people,
the predictions of all seeds pooled; entries that the attentive view keeps; faces that keep one, and
more than two; faces that share the commonest leader, the entry with the largest weight; the
gradient of the contrastive term that reaches z through either view, of a face; the largest entry of
z. A finished run is not repeated: stop at any time.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import torch
from torch import Tensor

sys.path.insert(0, str(ROOT := Path(__file__).parent.parent))

from avce.method.contrastive import Views
from avce.scores.intervals import assess
from avce.scores.metrics import Scores
from avce.scores.predictions import CONTEXT, predict_table
from avce.training.run_folder import load_run
from benchmarks.recipes import budgeted, faces, loader, train, with_people
from shards import LabelIndex

CALM = ("start=torch", "norm=none")
VARIANTS: dict[str, tuple[str, ...]] = {
    "published": (),
    "torch": ("start=torch",),
    "none": ("norm=none",),
    "torch,none": CALM,
    "torch,none,entmax15": (*CALM, "attentive=entmax15"),
    "torch,none,temperature 4": (*CALM, "view_temperature=4"),
    "torch,none,temperature 8": (*CALM, "view_temperature=8"),
    "torch,none,layer_norm": (*CALM, "views=layer_norm"),
    "torch,none,batch_norm": (*CALM, "views=batch_norm"),
    "torch,none,batch_norm,no gradient": (*CALM, "views=batch_norm", "view_gradient=false"),
    "torch,none,batch_norm,temperature 4": (*CALM, "views=batch_norm", "view_temperature=4"),
    "batch_norm": ("views=batch_norm",),
    "batch_norm,no gradient": ("views=batch_norm", "view_gradient=false"),
    "compressor_lr 1e-5": ("compressor_lr=1e-5",),
}


class Seen(NamedTuple):
    """What the views of a trained run do on the held-out faces."""

    support: float  # entries kept of 32
    vertices: float  # share of faces with one
    living: float  # share of faces with more than two
    leader: float  # share of faces with the commonest leader
    attentive: float  # gradient of the contrastive term through this view, of a face
    inattentive: float
    largest: float  # entry of z

    @classmethod
    def of(cls, method: Views, z: Tensor) -> Seen:
        views = method.views_of(z)
        kept = (views[0] > 0).sum(1)
        return cls(
            support=float(kept.float().mean()),
            vertices=float((kept == 1).float().mean()),
            living=float((kept > 2).float().mean()),
            leader=float(views[0].argmax(1).bincount().max()) / len(z),
            attentive=_gradient(method, z, 0),
            inattentive=_gradient(method, z, 1),
            largest=float(z.max()),
        )


def _gradient(method: Views, z: Tensor, kind: int) -> float:
    """How long the slope is, of a face, that reaches z through one view and H."""
    if method.contrast is None or not method.config.view_gradient:
        return 0.0
    preds, leaf = method.model.regressor(z).detach(), z.clone().requires_grad_()
    ends = [method.projection_head(view) for view in method.views_of(leaf)]
    ends[1 - kind] = ends[1 - kind].detach()
    loss = method.config.contrast_weight * method.contrast(preds, *ends)
    (slope,) = torch.autograd.grad(loss, leaf)
    return float(slope.norm(dim=1).mean()) * len(z)


def look(run: Path, index: LabelIndex) -> tuple[pa.Table, Seen]:
    """The predictions of a run's last weights on the people held out, and what its views do."""
    method, config, _ = load_run(run, "last")
    assert isinstance(method, Views)
    with closing(loader(index, config, "val")) as held_out, torch.no_grad():
        z = torch.cat([method.model.latent(batch[0]) for batch in held_out])
    with closing(loader(index, config, "val")) as held_out:
        table = predict_table(method, held_out, index.table.select(CONTEXT))
    return table, Seen.of(method, z)


def row(name: str, runs: Sequence[Path], index: LabelIndex, level: str) -> str:
    """A line of the table."""
    tables, seen = zip(*(look(run, index) for run in runs), strict=True)
    found = assess(with_people(pa.concat_tables(tables), level), clusters="person")
    assert isinstance(found.scores, Scores)
    cells = []
    for k in range(2):
        interval = found.intervals["ccc"][k]
        between = f" [{interval.low:.3f}, {interval.high:.3f}]" if interval else ""
        cells.append(f"{found.scores.ccc[k]:.3f}{between}")
    mean = Seen(*(sum(values) / len(values) for values in zip(*seen, strict=True)))
    cells += [f"{mean.support:.1f}"]
    cells += [f"{share:.0%}" for share in (mean.vertices, mean.living, mean.leader)]
    cells += [f"{mean.attentive:.0e}", f"{mean.inattentive:.0e}", f"{mean.largest:.1f}"]
    return f"| {name} | {' | '.join(cells)} |"


def _named(settings: Sequence[str]) -> str:
    """A folder for runs that share these settings."""
    return ",".join(setting.replace("/", "_") for setting in settings)


HEADS = (
    "variant", "valence", "arousal", "support", "one entry", "above 2", "same leader",
    "gradient, attentive", "inattentive", "largest z",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--level", default="easy", help="of the drawn faces")
    parser.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="for all runs")
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "recipes")
    args = parser.parse_args(argv)
    index = faces(args.out, args.level)
    folder = args.out / f"views-{args.epochs}-epochs" / args.level / _named(args.set)
    for seed in range(args.seeds):  # a table of all variants is soon there
        for name in args.only:
            chosen = [*args.set, *VARIANTS[name]]
            config = budgeted("avce_joint", index, args.epochs, seed, chosen)
            train(name, config, index, folder / name / f"seed{seed}")
    print(f"| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}")
    for name in args.only:
        runs = [folder / name / f"seed{seed}" for seed in range(args.seeds)]
        print(row(name, runs, index, args.level), flush=True)


if __name__ == "__main__":
    main()
