"""Data sets to shards: tars of images and one Arrow index that owns every label.

Names are resolved when first used, so that opening an index waits for nothing that builds one.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shards.building.build import READERS as READERS
    from shards.building.build import build as build
    from shards.building.engine import Engine as Engine
    from shards.building.options import BuildOptions as BuildOptions
    from shards.building.repair import repair as repair
    from shards.building.report import Report as Report
    from shards.building.tars import write_shards as write_shards
    from shards.crop import Crop as Crop
    from shards.findings import Findings as Findings
    from shards.index import LABELS as LABELS
    from shards.index import SCHEMA as SCHEMA
    from shards.index import LabelIndex as LabelIndex
    from shards.index import Selection as Selection
    from shards.sample import EXPRESSIONS as EXPRESSIONS
    from shards.sample import Sample as Sample

_HOMES = {
    "READERS": "building.build",
    "build": "building.build",
    "Engine": "building.engine",
    "BuildOptions": "building.options",
    "repair": "building.repair",
    "Report": "building.report",
    "write_shards": "building.tars",
    "Crop": "crop",
    "Findings": "findings",
    "LABELS": "index",
    "SCHEMA": "index",
    "LabelIndex": "index",
    "Selection": "index",
    "EXPRESSIONS": "sample",
    "Sample": "sample",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'shards' has no attribute {name!r}")
    value = getattr(import_module(f"shards.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
