"""The kinds of cases, and what share of a campaign's time each is given."""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from random import Random

import nvidia.dali  # noqa: F401  imported once, before any case is forked
import timm  # noqa: F401
import torch

import avce.commands  # noqa: F401
import pipelines  # noqa: F401
import shards.building.build
import shards.where  # noqa: F401
from avce.inference import predictor, sinks, stream  # noqa: F401
from avce.report import page  # noqa: F401
from avce.scores import intervals, scoreboard  # noqa: F401
from avce.training import trainer  # noqa: F401
from tests.torture import damage, disks, foreign, grammar, kills, rows
from tests.torture.world import Verdict, World

Try = Callable[[World, Random, Path], Verdict]
KINDS: dict[str, tuple[Try, float]] = {
    "shard killed": (kills.shard, 5),
    "train killed": (kills.train, 5),
    "two ranks killed": (kills.ranks, 2),
    "predict killed": (kills.predict, 2),
    "sweep killed": (kills.sweep, 2),
    "disk full": (disks.disk, 3),
    "ours damaged": (damage.damaged, 6),
    "foreign changed": (foreign.foreign, 3),
    "conditions": (grammar.condition, 1),
    "settings": (grammar.setting, 2),
    "rows": (rows.simplex, 1),
    "programs": (rows.program, 1),
}
torch.set_num_threads(1)
gc.freeze()  # a child's collector would copy every page of what was imported
