"""Shards to tensors: the order of an epoch, decoding, and the batches of one rank.

What decodes is resolved when first used, so that `pipelines.pixels` does not wait for DALI.
"""

from typing import TYPE_CHECKING, Any

from pipelines.augment import Augment as Augment
from pipelines.fetch import cached as cached
from pipelines.fetch import fetch as fetch
from pipelines.order import Order as Order

if TYPE_CHECKING:
    from pipelines.loader import Batch as Batch
    from pipelines.loader import Batches as Batches
    from pipelines.loader import batches as batches


def __getattr__(name: str) -> Any:
    if name not in ("Batch", "Batches", "batches"):
        raise AttributeError(f"module 'pipelines' has no attribute {name!r}")
    from pipelines import loader

    globals()[name] = getattr(loader, name)
    return globals()[name]
