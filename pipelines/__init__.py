"""Shards to tensors: the order of an epoch, decoding, and the batches of one rank."""

from pipelines.augment import Augment as Augment
from pipelines.fetch import cached as cached
from pipelines.fetch import fetch as fetch
from pipelines.loader import Batch as Batch
from pipelines.loader import Batches as Batches
from pipelines.loader import batches as batches
from pipelines.order import Order as Order
