"""What `doctor` says of DALI."""

from __future__ import annotations

from importlib.metadata import version

from pipelines.health import checks, flavours


def test_dali_decodes_and_its_flavour_is_named():
    what, outcome, found, _ = next(iter(checks()))
    assert (what, outcome) == ("DALI on the CPU", "ok")
    assert version("nvidia-dali-cuda120") in found and "nvidia-dali-cuda1" in found
    assert len(flavours()) == 1
