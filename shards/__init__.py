"""Data sets to shards: tars of images and one Arrow index that owns every label."""

from shards.building.build import READERS as READERS
from shards.building.build import BuildOptions as BuildOptions
from shards.building.build import Report as Report
from shards.building.build import build as build
from shards.building.engine import Engine as Engine
from shards.building.tars import write_shards as write_shards
from shards.crop import Crop as Crop
from shards.findings import Findings as Findings
from shards.index import LABELS as LABELS
from shards.index import SCHEMA as SCHEMA
from shards.index import LabelIndex as LabelIndex
from shards.index import Selection as Selection
from shards.sample import EXPRESSIONS as EXPRESSIONS
from shards.sample import Sample as Sample
