"""`checks`: versions and devices a training depends on; one room's part of `doctor`."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib.util import find_spec

from avce.training.record import versions

Check = tuple[str, str, str, str]  # what, ok|note|fail, what was found, what to do about it
_NEEDED = ("torch", "torchvision", "accelerate", "numpy", "pyarrow", "safetensors")


def checks() -> Iterator[Check]:
    """Python, packages, processor and GPUs."""
    python = platform.python_version()
    old = sys.version_info < (3, 11)
    yield "Python", "fail" if old else "ok", python, "install Python 3.11 or newer" if old else ""
    found = versions()
    for package in sorted({*_NEEDED, *found}):
        if package in found:
            yield package, "ok", found[package], ""
        else:
            yield package, "fail", "not installed", "just setup"
    yield _optional("cvxpylayers", "audits of SparseMax and SoftMax", "cvxpy cvxpylayers ecos")
    yield _optional("onnxruntime", "export --format onnx", "'avce[onnx]'")
    yield _optional("pillow_heif", "HEIC pictures", "'avce[heic]'")
    import torch  # now that something is on the screen

    yield "processor", "ok", f"{torch.get_num_threads()} threads, {platform.machine()}", ""
    yield from _gpus()


def _optional(module: str, use: str, wanted: str) -> Check:
    if find_spec(module) is None:
        return f"for {use}", "note", "not installed", f"pip install {wanted}"
    return f"for {use}", "ok", module, ""


def _gpus() -> Iterator[Check]:
    import torch

    if not torch.cuda.is_available():
        built = torch.version.cuda
        advice = (
            f"torch is built for CUDA {built}: see whether `nvidia-smi` shows a GPU and a new "
            "enough driver; without one everything works, slower"
            if built
            else "this torch is built without CUDA; install the one for your driver"
        )
        yield "GPU", "note", "none usable", advice
        return
    for number in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(number)
        memory = f"{gpu.total_memory / 2**30:.0f} GiB"
        yield f"GPU {number}", "ok", f"{gpu.name}, {memory}, CUDA {torch.version.cuda}", ""
