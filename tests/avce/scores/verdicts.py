"""Small synthetic prediction tables: videos with offsets of their own, so that frames cluster."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from avce.scores.predictions import tabled


def video_table(
    videos: int = 12, frames: int = 40, *, noise: float = 0.1, seed: int = 0, model: int = 0
) -> pa.Table:
    """Labels that wander within each video, predictions that follow with a bias per video.

    The same `seed` gives the same labels; `model` varies the predictions only.
    """
    world, said = np.random.default_rng(seed), np.random.default_rng([seed, model, 1])
    n = videos * frames
    code = np.repeat(np.arange(videos), frames)
    steps = world.normal(0, 0.08, (videos, frames, 2)).cumsum(1)
    target = np.tanh(steps + world.normal(0, 0.4, (videos, 1, 2))).reshape(n, 2)
    bias = said.normal(0, noise, (videos, 2))[code]
    preds = 0.8 * target + bias + said.normal(0, noise, (n, 2))
    table = tabled(np.arange(n), preds.astype(np.float32), target.astype(np.float32))
    frame = np.tile(np.arange(frames), videos)
    columns = {
        "sample_key": pa.array([f"video{v:03d}_{f:05d}" for v, f in zip(code, frame, strict=True)]),
        "video_id": pa.array([f"video{v:03d}" for v in code]),
        "frame_index": pa.array(frame, pa.int32()),
    }
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table


def class_table(n: int = 300, classes: int = 7, *, seed: int = 0) -> pa.Table:
    """Logits that are right about seven times in ten."""
    rng = np.random.default_rng(seed)
    target = rng.integers(0, classes, n)
    logits = rng.normal(0, 1, (n, classes))
    logits[np.arange(n), target] += 2.2
    return tabled(np.arange(n), logits.astype(np.float32), target)
