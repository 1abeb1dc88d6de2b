"""Untrained runs on drawn faces, with what pictures ask of a run."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from avce.method.build import build_method
from avce.recipes import RECIPES
from avce.report.trained_run import TrainedRun
from avce.scores.predictions import predict_table
from shards.standins.face import Identity, Scene, render, units_for, wanted_point
from tests.avce.faces import faces

SMALL = replace(RECIPES["demo"], image_size=64)
COUNT = 24


def labels(video: bool) -> pa.Table:
    frames = pa.array([3 * (i % 12) for i in range(COUNT)], pa.int32())
    names = pa.array([f"clip{i // 12}" if video else None for i in range(COUNT)], pa.string())
    keys = pa.array([f"k{i}" for i in range(COUNT)])
    return pa.table({"sample_key": keys, "video_id": names, "frame_index": frames})


def trained(name: str, seed: int, video: bool = True, **settings: object) -> TrainedRun:
    torch.manual_seed(seed)
    method = build_method(replace(SMALL, **settings)).eval()
    image, target, _ = faces(COUNT)

    def images(rows: np.ndarray) -> list[tuple[torch.Tensor, ...]]:
        chosen = torch.as_tensor(np.sort(rows))  # as a loader may: in an order of its own
        parts = chosen.split(7)
        return [(image[p], target[p], p, torch.ones(len(p), dtype=torch.bool)) for p in parts]

    table = predict_table(method, images(np.arange(COUNT)), labels(video))
    return TrainedRun(name, method, table, images)


@cache
def two_runs() -> list[TrainedRun]:
    return [trained("avce", 0), trained("plain/er", 1, formula="none", discriminative_weight=0.0)]


@cache
def encoded_faces() -> list[bytes]:
    """Four drawn faces as JPEG."""
    encoded = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        units = units_for(*wanted_point(rng), rng)
        drawing = render(Identity.draw(rng), units, Scene.draw(rng, "easy"), size=64)
        page = io.BytesIO()
        Image.fromarray(drawing.image).save(page, "JPEG")
        encoded.append(page.getvalue())
    return encoded
