"""Data sets to shards: tars of images and one Arrow index that owns every label."""

from shards.findings import Findings as Findings
from shards.index import SCHEMA as SCHEMA
from shards.index import LabelIndex as LabelIndex
from shards.index import Selection as Selection
from shards.sample import EXPRESSIONS as EXPRESSIONS
from shards.sample import Sample as Sample
from shards.writer import write_shards as write_shards
