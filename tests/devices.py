"""Where a test runs: on the CPU everywhere, and on a GPU where there is one."""

import pytest
import torch

needs_gpu = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine"),
)
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]
