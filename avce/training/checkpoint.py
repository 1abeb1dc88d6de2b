"""The full state of a training, on disk: written aside, renamed last, never a pickle.

    checkpoints/step-00000250/
        weights.safetensors      every parameter and buffer of the method
        optimizers.safetensors   the tensors of every optimizer
        rng.safetensors          the random generators of every rank
        state.json               the rest: step, order position, best score, config, git commit

A folder with its final name is complete: it was written as `step-00000250.part`, every file
synced to disk, and then renamed. What ends in `.part` is rubbish that a killed process left behind.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as safetensors_bytes
from torch import Tensor

from avce.durable import sync_folder, write_synced

Optimizers = Mapping[str, torch.optim.Optimizer]


class Checkpoint(NamedTuple):
    """What `load_checkpoint` reads; hand `optimizers` to `load_optimizers`, `rng` to `set_rng`."""

    weights: dict[str, Tensor]
    optimizers: dict[str, Tensor]
    rng: dict[str, Tensor]  # name -> (ranks, length)
    state: dict[str, Any]


# ---------------------------------------------------------------------------------- files


def as_safetensors(tensors: Mapping[str, Tensor], **metadata: object) -> bytes:
    """Serialise; safetensors wants dense row-major tensors, channels_last weights are not."""
    dense = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    facts = {name: str(value) for name, value in metadata.items()}
    return safetensors_bytes(dense, facts or None)  # {} beside no tensor writes a broken header


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Load to host memory; a missing or damaged file is named in one sentence."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; is its folder a run that has saved once?")
    try:
        return load_file(path)
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
        remove_rubbish(folder)
        write_folder(part, content)
        part.rename(path)
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise OSError(error.errno, unsaved_message(path, error)) from error
    sync_folder(folder)
    for old in checkpoints(folder)[:-keep]:
        shutil.rmtree(old)
    return path


def write_folder(part: Path, content: Checkpoint) -> None:
    """All files of one checkpoint; `state.json` last."""
    part.mkdir()
    for name in ("weights", "optimizers", "rng"):
        write_synced(part / f"{name}.safetensors", as_safetensors(getattr(content, name)))
    write_synced(part / "state.json", json.dumps(content.state, indent=1).encode())
    sync_folder(part)


def unsaved_message(path: Path, error: OSError) -> str:
    """One sentence for the person whose disk is full."""
    good = newest_checkpoint(path.parent)
    rest = f"the last good checkpoint is {good}" if good else "there is no older checkpoint"
    return f"{path} could not be written ({error.strerror}); {rest}; free some space and resume"


def remove_rubbish(folder: Path) -> None:
    """Delete what a killed process left half-written."""
    for part in folder.glob("step-*.part"):
        shutil.rmtree(part)


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    return sorted(p for p in folder.glob("step-*") if p.suffix != ".part")


def newest_checkpoint(folder: Path) -> Path | None:
    """The complete checkpoint with the most steps, or None."""
    found = checkpoints(folder)
    return found[-1] if found else None


def load_checkpoint(path: Path) -> Checkpoint:
    """Read one `step-N` folder."""
    tensors = [
        read_safetensors(path / f"{name}.safetensors") for name in ("weights", "optimizers", "rng")
    ]
    return Checkpoint(*tensors, state=json.loads((path / "state.json").read_text()))


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


def _untangle(group: Mapping[str, Any]) -> dict[str, Any]:
    """JSON turned Adam's pair of betas into a list; torch writes a tuple."""
    return {
        key: tuple(value) if isinstance(value, list) and key != "params" else value
        for key, value in group.items()
    }


# ---------------------------------------------------------------------------------- randomness


def get_rng(device: torch.device) -> dict[str, Tensor]:
    """Where this rank's generators stand (torch, torch on `device`, numpy, python), as tensors."""
    numpy_state: tuple[Any, ...] = np.random.get_state()  # type: ignore  # noqa: NPY002
    _, keys, position, has_gauss, gauss = numpy_state
    _, internal, next_gauss = random.getstate()
    spare = [float(gauss) if has_gauss else float("nan")]
    spare += [float("nan") if next_gauss is None else next_gauss]
    state = {
        "torch": torch.get_rng_state(),
        "numpy": torch.tensor([*keys.tolist(), int(position)], dtype=torch.int64),
        "python": torch.tensor(internal, dtype=torch.int64),
        "gauss": torch.tensor(spare, dtype=torch.float64),  # NaN: no number is waiting
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_rng(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Put this rank's generators where `get_rng` found them."""
    numpy_spare, python_spare = state["gauss"].tolist()
    *keys, position = state["numpy"].tolist()
    waiting = not np.isnan(numpy_spare)
    words = np.array(keys, dtype=np.uint32)
    np.random.set_state(  # noqa: NPY002
        ("MT19937", words, position, int(waiting), numpy_spare if waiting else 0.0)
    )
    following = None if np.isnan(python_spare) else python_spare
    random.setstate((3, tuple(state["python"].tolist()), following))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


def seed_rng(seed: int) -> None:
    """Seed torch (all devices), numpy and python."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    torch.manual_seed(seed)
