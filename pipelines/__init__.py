"""Shards to tensors: the order of an epoch, decoding, and the batches of one rank.

DALI is imported by whoever asks for batches, not by whoever asks for an order or for pixels.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from pipelines.augment import Augment as Augment
from pipelines.balance import grouped as grouped
from pipelines.fetch import cached as cached
from pipelines.fetch import fetch as fetch
from pipelines.order import Order as Order

if TYPE_CHECKING:
    from pipelines.loader import Batch as Batch
    from pipelines.loader import Batches as Batches
    from pipelines.loader import batches as batches


def __getattr__(name: str) -> Any:
    if name in ("Batch", "Batches", "batches"):
        return getattr(import_module("pipelines.loader"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
