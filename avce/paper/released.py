"""The authors' published checkpoints as ours: strict, without running code from the file.

A checkpoint is two files, an encoder and a regressor (compressor and regressor in our words).
Heads were never published. What the files hold beside the model is reported, never loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from avce.config import Config
from avce.method.build import build_method
from avce.method.pretrained import read_tensors
from avce.recipes import RECIPES

# name in their file -> name in ours, per kind of regressor
_ALEXNET = {"lin0": "compressor.fc", "lin1": "regressor.fc1", "va_regressor": "regressor.fc2"}
_RESNET18 = {
    "last_linear": "compressor.fc1",
    "lin0": "compressor.fc2",
    "lin1": "regressor.fc1",
    "va_regressor": "regressor.fc2",
}
_CAF = {"lin0": "compressor.fc1", "lin1": "compressor.fc2", "va_regressor": "regressor.fc"}
# Parts of an abandoned attention branch in the AlexNet file, still at their random start.
_ABANDONED = ("lin2.", "pw_conv.")

_BARE = replace(
    RECIPES["paper"], formula="none", discriminative_weight=0.0, norm="none", weights="none"
)


@dataclass(frozen=True)
class Released:
    """A converted checkpoint: tensors under our names, the config to open them with, the report."""

    config: Config
    tensors: dict[str, Tensor]  # keys of the state_dict of build_method(config)
    used: dict[str, str]  # their name -> our name
    unused: dict[str, tuple[int, ...]]  # their name -> shape
    digests: dict[str, str]  # file name -> sha256

    def report(self) -> str:
        """What was used and what was left behind, a line each."""
        lines = [f"{theirs} -> {ours}" for theirs, ours in self.used.items()]
        lines += [f"{name} {shape}: not used" for name, shape in self.unused.items()]
        return "\n".join(lines)


def convert_released(paths: Sequence[Path | str]) -> Released:
    """An encoder file and a regressor file, in any order, as tensors of ours.

    The kind (AlexNet, ResNet18, CAF on AlexNet) follows from the regressor's shapes. Raises
    FileNotFoundError for a missing file and ValueError for files that are no such pair, hold
    tensors nobody knows, or lack one; nothing is ever loaded in part.
    """
    encoder_path, regressor_path = _pair([Path(path) for path in paths])
    encoder, regressor = read_tensors(encoder_path), read_tensors(regressor_path)
    config, names = _kind(regressor, regressor_path)
    wanted = build_method(config).state_dict()
    used, unused = _match_regressor(regressor, names, regressor_path)
    used |= _match_encoder(encoder, wanted, encoder_path)
    tensors = {ours: (regressor | encoder)[theirs] for theirs, ours in used.items()}
    for name in wanted:  # files older than this counter
        if name.endswith("num_batches_tracked") and name not in tensors:
            tensors[name] = torch.zeros_like(wanted[name])
    _check(tensors, wanted, {ours: theirs for theirs, ours in used.items()}, config)
    digests = {path.name: _sha256(path) for path in (encoder_path, regressor_path)}
    plain = {name: tensor.clone().contiguous() for name, tensor in tensors.items()}
    return Released(config, plain, used, unused, digests)


def _pair(paths: list[Path]) -> tuple[Path, Path]:
    kinds = {path: _is_regressor(read_tensors(path)) for path in paths}
    encoders = [path for path, regressor in kinds.items() if not regressor]
    regressors = [path for path, regressor in kinds.items() if regressor]
    if len(encoders) != 1 or len(regressors) != 1 or len(paths) != 2:
        raise ValueError(
            f"a released checkpoint is one encoder and one regressor file, and {len(paths)} "
            f"file(s) with {len(regressors)} regressor(s) were given "
            f"({', '.join(map(str, paths)) or 'none'}); give encoder.t7 and regressor.t7 together"
        )
    return encoders[0], regressors[0]


def _is_regressor(tensors: Mapping[str, Tensor]) -> bool:
    return "va_regressor.weight" in tensors


def _kind(tensors: Mapping[str, Tensor], path: Path) -> tuple[Config, dict[str, str]]:
    first = tuple(tensors["lin0.weight"].shape) if "lin0.weight" in tensors else ()
    if "last_linear.weight" in tensors:
        return replace(_BARE, encoder="resnet18"), _RESNET18
    if first == (32, 9216):
        return _BARE, _ALEXNET
    if first == (64, 9216):
        return replace(_BARE, stack="caf"), _CAF
    if first == (256, 9216):
        raise ValueError(f"{path} is a regressor of ELIM, a later method that is not part of AVCE")
    raise ValueError(
        f"{path}: a first layer lin0 of shape {first or 'none'} belongs to no released regressor; "
        "they are (32, 9216), (64, 9216), or (32, 1000) behind last_linear"
    )


def _match_regressor(
    tensors: Mapping[str, Tensor], names: Mapping[str, str], path: Path
) -> tuple[dict[str, str], dict[str, tuple[int, ...]]]:
    used, unused, strangers = {}, {}, []
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        if layer in names:
            used[name] = f"model.{names[layer]}.{kind}"
        elif names is _ALEXNET and name.startswith(_ABANDONED):
            unused[name] = tuple(tensor.shape)
        else:
            strangers.append(name)
    _refuse(strangers, path)
    return used, unused


def _match_encoder(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor], path: Path
) -> dict[str, str]:
    used = {name: f"model.encoder.{name.removeprefix('module.')}" for name in tensors}
    _refuse([name for name, ours in used.items() if ours not in wanted], path)
    return used


def _refuse(strangers: list[str], path: Path) -> None:
    if strangers:
        raise ValueError(
            f"{path} holds {len(strangers)} tensor(s) with no place in the model its partner "
            f"describes, first {strangers[0]}; are the two files of one backbone?"
        )


def _check(
    tensors: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    theirs: Mapping[str, str],
    config: Config,
) -> None:
    for name, tensor in wanted.items():
        if name not in tensors:
            raise ValueError(
                f"the files lack {name.removeprefix('model.')} of {config.encoder}; they are not "
                "a whole released checkpoint"
            )
        if tensors[name].shape != tensor.shape:
            raise ValueError(
                f"{theirs[name]} has shape {tuple(tensors[name].shape)} where {config.encoder} "
                f"needs {tuple(tensor.shape)}; are the two files of one backbone?"
            )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
