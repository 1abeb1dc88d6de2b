"""DALI is imported by whoever asks for batches, and by nobody else."""

from __future__ import annotations

import subprocess
import sys

import pytest

import pipelines


@pytest.mark.parametrize("room", ["pipelines", "pipelines.pixels", "pipelines.order"])
def test_importing_does_not_import_dali(room):
    code = f"import sys, {room}; sys.exit('nvidia.dali' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_what_is_promised_is_there():
    from pipelines import Batch, Batches, batches

    assert (Batch.__module__, Batches.__module__) == ("pipelines.loader", "pipelines.loader")
    assert callable(batches)
    with pytest.raises(AttributeError, match="no attribute 'batch'"):
        pipelines.batch  # noqa: B018
