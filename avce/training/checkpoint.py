"""The full state of a training, on disk: written aside, renamed last, never a pickle.

    checkpoints/step-00000250/
        weights.safetensors      every parameter and buffer of the method
        optimizers.safetensors   the tensors of every optimizer
        rng.safetensors          torch's random generators of every rank
        state.json               the rest: step, order position, best score, config, git commit
        sums.json                the sha256 of each of them, checked at load

A folder with its final name is complete: it was written as `step-00000250.part`, every file
synced to disk, and then renamed. What ends in `.part` is rubbish that a killed process left behind;
what ends in `.damaged` failed its checks when a run was resumed, which went on without it.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_in
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from avce.durable import read_json, sync_folder, write_synced

Optimizers = Mapping[str, torch.optim.Optimizer]
_TENSORS = ("weights", "optimizers", "rng")
_SUMS = "sums.json"


class Checkpoint(NamedTuple):
    """What `load_checkpoint` reads; hand `optimizers` to `load_optimizers`, `rng` to `set_rng`."""

    weights: dict[str, Tensor]
    optimizers: dict[str, Tensor]
    rng: dict[str, Tensor]  # name -> (ranks, length)
    state: dict[str, Any]


# ---------------------------------------------------------------------------------- files


_BLANK = b"0" * 64
# by its name or by its looks: a damaged name makes no file one that was never sealed
_SEAL = re.compile(rb'(?:"sha256".{2}|".{6}":"(?=[0-9a-f]{64}"))(.{64})', re.DOTALL)


def as_safetensors(tensors: Mapping[str, Tensor], **metadata: object) -> bytes:
    """Serialise, sealed by a sha256 of the whole file with the seal itself left blank.

    safetensors wants dense row-major tensors, which channels_last weights are not.
    """
    dense = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    said = {name: str(value) for name, value in metadata.items()} | {"sha256": _BLANK.decode()}
    content = safetensors_bytes(dense, said)
    return content.replace(_BLANK, hashlib.sha256(content).hexdigest().encode(), 1)


def whole(path: Path) -> bytes:
    """A file of safetensors; ValueError where one of `as_safetensors` has changed since.

    Others have no seal. Their own reader takes no name that is not UTF-8.
    """
    content = path.read_bytes()
    seal = _SEAL.search(content, 8, min(8 + _header_of(content), len(content)))
    if seal is None:
        return content
    blank = content[: seal.start(1)] + _BLANK + content[seal.end(1) :]
    if hashlib.sha256(blank).hexdigest().encode() != seal[1]:
        raise ValueError(
            f"{path} is damaged: its sha256 is not the one it was written with; take another "
            "checkpoint or copy the file again"
        )
    return content


def _header_of(content: bytes) -> int:
    """Bytes of the header, which follows its own length."""
    return int.from_bytes(content[:8], "little")


def metadata_in(path: Path) -> dict[str, str]:
    """What `as_safetensors` was told besides; ValueError for other files, KeyError without any."""
    content = whole(path)
    return json.loads(content[8 : 8 + _header_of(content)])["__metadata__"]


def step_of(path: Path) -> int | None:
    """After which step the weights in a file were saved; None where it is absent or damaged."""
    try:
        return int(metadata_in(path)["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Load to host memory; a missing or damaged file is named in one sentence."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; is its folder a run that has saved once?")
    try:
        return tensors_in(whole(path))
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a readable safetensors file ({error}); "
            "take another checkpoint or copy the file again"
        ) from error


# ---------------------------------------------------------------------------------- folders


def save_checkpoint(folder: Path, content: Checkpoint, *, keep: int) -> Path:
    """Write `folder/step-N` and then drop all but the newest `keep` checkpoints.

    `content.state` must hold "step". A failed write (disk full, quota) removes what it began,
    leaves every older checkpoint as it was and raises OSError naming the last good one.
    """
    path = folder / f"step-{content.state['step']:08d}"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        write_folder(part, content)
        part.rename(path)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise OSError(error.errno, unsaved_message(path, error)) from error
    sync_folder(folder)
    prune(folder, keep)
    return path


def write_folder(part: Path, content: Checkpoint) -> None:
    """All files of one checkpoint; their sums last."""
    part.mkdir()
    files = {f"{name}.safetensors": as_safetensors(getattr(content, name)) for name in _TENSORS}
    files["state.json"] = json.dumps(content.state, indent=1).encode()
    sums = {name: hashlib.sha256(file).hexdigest() for name, file in files.items()}
    for name, file in (files | {_SUMS: json.dumps(sums).encode()}).items():
        write_synced(part / name, file)
    sync_folder(part)


def unsaved_message(path: Path, error: OSError) -> str:
    """One sentence for the person whose disk is full."""
    good = newest_checkpoint(path.parent)
    rest = f"the last good checkpoint is {good}" if good else "there is no older checkpoint"
    return f"{path} could not be written ({error.strerror}); {rest}; free some space and resume"


def prune(folder: Path, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints, and what a killed process left half-done.

    A checkpoint loses its name first: what is killed here must not look complete.
    """
    for old in checkpoints(folder)[:-keep]:
        old.rename(old.with_name(f"{old.name}.part"))
    for part in folder.glob("step-*.part"):
        shutil.rmtree(part)


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(p for p in folder.glob("step-*") if not p.suffix)


def newest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint with the most steps, or None."""
    found = checkpoints(folder)
    return found[-1] if found else None


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one `step-N` folder; what is missing or changed since is named: OSError, ValueError."""
    tensors = [read_safetensors(path / f"{name}.safetensors") for name in _TENSORS]
    state = read_json(path / "state.json")
    if (path / _SUMS).exists():
        refuse_other_sums(path, read_json(path / _SUMS))
    if not isinstance(state, dict) or type(state.get("step")) is not int:
        raise ValueError(f"{path}/state.json holds no object with a step; take another checkpoint")
    return Checkpoint(*tensors, state=state)


def refuse_other_sums(path: Path, sums: Any) -> None:
    """ValueError naming the file of a checkpoint that is not the one it was written with."""
    for name in (*(f"{tensors}.safetensors" for tensors in _TENSORS), "state.json"):
        with open(path / name, "rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if not isinstance(sums, dict) or sums.get(name) != found:
            raise ValueError(f"{path}/{name} is damaged: its sha256 is not the one in {_SUMS}")


# ---------------------------------------------------------------------------------- optimizers


def optimizer_tensors(optimizers: Optimizers) -> dict[str, Tensor]:
    """Every tensor of every optimizer as `NAME/PARAMETER/FIELD`, such as `encoder/3/exp_avg`."""
    return {
        f"{name}/{parameter}/{field}": value
        for name, optimizer in optimizers.items()
        for parameter, fields in optimizer.state_dict()["state"].items()
        for field, value in fields.items()
        if isinstance(value, Tensor)
    }


def optimizer_settings(optimizers: Optimizers) -> dict[str, list[dict[str, Any]]]:
    """The param groups (learning rate, betas ...) of every optimizer, as JSON takes them."""
    return {name: o.state_dict()["param_groups"] for name, o in optimizers.items()}


def load_optimizers(
    optimizers: Optimizers, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]
) -> None:
    """Undo `optimizer_tensors` and `optimizer_settings`. Refuses other names of optimizers."""
    if set(optimizers) != set(settings):
        raise ValueError(
            f"the checkpoint has optimizers {sorted(settings)} but the method has "
            f"{sorted(optimizers)}; resume with the config the run was started with"
        )
    for name, optimizer in optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            owner, parameter, field = key.split("/")
            if owner == name:
                state.setdefault(int(parameter), {})[field] = tensor
        groups = [_untangle(group) for group in settings[name]]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
        _lay_out(optimizer)


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Give each moment its parameter's strides: fused optimizers walk raw memory."""
    for parameter, fields in optimizer.state.items():
        for field, value in fields.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                fields[field] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _untangle(group: Mapping[str, Any]) -> dict[str, Any]:
    """JSON turned Adam's pair of betas into a list; torch writes a tuple."""
    return {
        key: tuple(value) if isinstance(value, list) and key != "params" else value
        for key, value in group.items()
    }


# ---------------------------------------------------------------------------------- randomness


def get_rng(device: torch.device) -> dict[str, Tensor]:
    """Where this rank's generators stand: torch's, and torch's on `device`.

    Nothing of ours draws from those of numpy and Python.
    """
    state = {"torch": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_rng(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Put this rank's generators where `get_rng` found them."""
    torch.set_rng_state(state["torch"].clone())  # torch misreads a view with an offset
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].clone(), device)


def seed_rng(seed: int) -> None:
    """Seed torch (all devices), numpy and python."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)
