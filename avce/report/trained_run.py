"""A trained run that can still be asked: about images of the index, and what lies inside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from avce.method.base import Method
from avce.method.encoders import MEAN, STD
from avce.scores.evaluate import device_of, predict_batches


@dataclass(frozen=True)
class TrainedRun:
    """A run that can still be asked about images, beside what it said."""

    name: str
    method: Method
    table: pa.Table
    images: Callable[[np.ndarray], Iterable[Any]]  # rows of the index -> batches of them
    log: Sequence[Mapping[str, Any]] = ()  # the records of its log.jsonl


class Stack(NamedTuple):
    """Some samples in memory, in the order they were asked for."""

    image: Tensor  # (n, 3, h, w) normalised
    target: np.ndarray  # (n, 2)


def stack_of(run: TrainedRun, rows: Int[np.ndarray, " n"]) -> Stack:
    """The images and labels of these rows as the run sees them."""
    parts = list(predict_batches(nn.Identity(), run.images(rows), device=device_of(run.method)))
    row, image, target = (torch.cat(column) for column in zip(*parts, strict=True))
    place = {int(r): i for i, r in enumerate(row)}
    order = torch.tensor([place[int(r)] for r in rows])
    return Stack(image[order.to(image.device)], target.cpu()[order].numpy())


def pixels_of(image: Float[Tensor, "n 3 h w"]) -> UInt8[np.ndarray, "n h w 3"]:
    """Normalised images as pictures."""
    mean, std = (torch.tensor(v, device=image.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    levels = ((image * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return levels.permute(0, 2, 3, 1).cpu().numpy()


def latents(run: TrainedRun, rows: Int[np.ndarray, " n"]) -> tuple[np.ndarray, ...]:
    """Rows as they came, z (n, 32) in eval mode, and labels (n, 2)."""
    parts = predict_batches(run.method, run.images(rows), predict=run.method.model.latent)
    columns = zip(*parts, strict=True)
    return tuple(torch.cat(column).cpu().numpy() for column in columns)
