"""Where the tests of training train."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from accelerate.state import AcceleratorState


@pytest.fixture(autouse=True)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The CPU, also beside a GPU, unless a test asks for more.

    Accelerate chooses once a process, and so is made to forget. cuDNN may add up the gradient of a
    convolution in any order unless told not to, and no two runs would be the same.
    """
    chosen = getattr(request, "param", "cpu")
    monkeypatch.setenv("ACCELERATE_USE_CPU", str(chosen == "cpu"))
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    AcceleratorState._reset_state(reset_partial_state=True)
    yield chosen
    AcceleratorState._reset_state(reset_partial_state=True)
