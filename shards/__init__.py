"""Data sets to shards: tars of images and one Arrow index that owns every label."""

from shards.convert import READERS as READERS
from shards.convert import BuildOptions as BuildOptions
from shards.convert import Report as Report
from shards.convert import build as build
from shards.crop import Crop as Crop
from shards.engine import Engine as Engine
from shards.findings import Findings as Findings
from shards.index import LABELS as LABELS
from shards.index import SCHEMA as SCHEMA
from shards.index import LabelIndex as LabelIndex
from shards.index import Selection as Selection
from shards.sample import EXPRESSIONS as EXPRESSIONS
from shards.sample import Sample as Sample
from shards.writer import write_shards as write_shards
