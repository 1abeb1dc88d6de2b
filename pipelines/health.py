"""`checks`: whether DALI decodes here, on the CPU and on the GPU; one room's part of `doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import distributions

import numpy as np
import torch

from pipelines.augment import EVALUATION, draw
from pipelines.decode import Decoder, Graph, inputs
from pipelines.pixels import Geometry
from shards.image import encode_jpeg

Check = tuple[str, str, str, str]  # what, ok|note|fail, what was found, what to do about it


def checks() -> Iterator[Check]:
    """Decode one small image on each device."""
    yield _decodes("DALI on the CPU", None)
    if torch.cuda.is_available():
        yield _decodes("DALI on the GPU", torch.cuda.current_device())
    else:
        advice = "decoding on the CPU feeds training on the CPU; for a GPU see the devices above"
        yield "DALI on the GPU", "note", "no GPU", advice


def _decodes(what: str, device: int | None) -> Check:
    """A grey square there and back: DALI, its JPEG decoder and its own thread."""
    geometry = Geometry(size=32, stored=32)
    try:
        graph = Graph(geometry, batch_size=1, threads=1, device=device)
        grey = encode_jpeg(np.full((32, 32, 3), 128, np.uint8))
        decoder = Decoder(graph.pixels, device)
        decoder.put([np.frombuffer(grey, np.uint8)], inputs(draw(EVALUATION, 0, 0, 0, 1), geometry))
        shape = tuple(decoder.get().shape)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        return what, "fail", reason, "see the driver, or pip install --force-reinstall DALI"
    if shape != (1, 3, 32, 32):
        return what, "fail", f"gave {shape}", "install the version of constraints.txt"
    return what, "ok", f"decodes, {', '.join(flavours())}", ""


def flavours() -> list[str]:
    """The installed builds of DALI, `nvidia-dali-cuda120 2.4.0`; more than one is one too many."""
    found = {f"{each.metadata['Name']} {each.version}" for each in distributions()}
    return sorted(name for name in found if name.startswith("nvidia-dali-"))
