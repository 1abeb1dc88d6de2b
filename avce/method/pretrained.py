"""Trained weights into a model: ImageNet's, a file of torchvision or timm, or one of ours."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load as tensors_in
from torch import Tensor, nn

_LOG = logging.getLogger(__name__)
_PREFIXES = ("module.", "_orig_mod.", "encoder.")
_LARGEST = 4 << 30  # bytes; no encoder here is near it
# Heads of other tasks that a trunk leaves behind; anything else left over is an error.
_FOREIGN_HEADS = ("classifier.", "fc.", "last_linear.", "head.", "_fc.")


@dataclass(frozen=True)
class LoadReport:
    """Which tensors of a file were used and which were left behind, by name."""

    used: tuple[str, ...]
    unused: tuple[str, ...]


def load_pretrained(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> LoadReport:
    """Load the tensors of `source` into `model.encoder`, strictly.

    `model` has an encoder, a compressor and a regressor (an `AVModel`). A file of ours, of a run
    (keys `model.encoder.*`) or exported, fills the whole model. ImageNet's fully connected layers
    also start ResNet18's first compressor layer and AlexNet's classifier, where those exist. Every
    encoder tensor must be found with its shape, and all that is left over must belong to a
    classification head: ValueError.
    """
    if {"encoder", "regressor"} <= {name.partition(".")[0] for name in tensors}:  # exported
        tensors = {f"model.{name}": tensor for name, tensor in tensors.items()}
    if any(name.startswith("model.encoder.") for name in tensors):
        return _load_ours(model, tensors, source)
    encoder, compressor = model.get_submodule("encoder"), model.get_submodule("compressor")
    targets = encoder.state_dict()
    tensors = _like_targets(dict(tensors), targets)
    report = _load(encoder, {n: t for n, t in tensors.items() if n in targets}, source)
    extra = {name: t for name, t in tensors.items() if name not in targets}
    used = report.used + _start_head(compressor, extra)
    unused = tuple(name for name in extra if name not in used)
    _refuse_strangers(unused, source)
    _LOG.info("%s: %d tensors used, left behind: %s", source, len(used), ", ".join(unused) or "-")
    return LoadReport(used, unused)


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a safetensors or torch file; never runs code from the file.

    Torch files open with weights_only. A single entry `state_dict` or `model` around them is
    taken off. Raises FileNotFoundError or ValueError naming the file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is no file; check the path")
    if path.stat().st_size > _LARGEST:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, above the limit of {_LARGEST}")
    try:
        if path.suffix == ".safetensors":
            return tensors_in(path.read_bytes())
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle fail in any way: IndexError, UnicodeError
        reason = _why_unreadable(error)
        raise ValueError(
            f"{path} is no safetensors file and no torch file of plain tensors ({reason}); give "
            "a file that holds a state_dict"
        ) from None
    return _state_dict(content, path)


def _why_unreadable(error: Exception) -> str:
    """One line; torch's own for pickles advises to open the file all the same."""
    if isinstance(error, pickle.UnpicklingError):
        return "it holds more than tensors, and opening that could run code"
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _state_dict(content: object, path: Path) -> dict[str, Tensor]:
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(t, Tensor) for t in content.values()):
        raise ValueError(f"{path} holds no dictionary of tensors; give a state_dict")
    return {str(name): tensor for name, tensor in content.items()}


def _like_targets(tensors: dict[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under the target's names: prefixes off, or the lite0 package's order."""
    for prefix in _PREFIXES:
        if tensors and all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    if any(name.startswith("_conv_stem.") for name in tensors):
        return _by_order(tensors, targets)
    return tensors


def _by_order(tensors: dict[str, Tensor], targets: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """EfficientNet packages name layers their own way but list them in timm's order."""
    trunk = {name: tensor for name, tensor in tensors.items() if not name.startswith("_fc.")}
    foreign = {name: tensor for name, tensor in tensors.items() if name.startswith("_fc.")}
    if len(trunk) != len(targets):
        return tensors
    return dict(zip(targets, trunk.values(), strict=True)) | foreign


def _load(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> LoadReport:
    targets = module.state_dict()
    wrong = [f"{n} is missing" for n in targets if n not in tensors and not _optional(n)]
    wrong += [
        f"{name} has shape {tuple(tensor.shape)} and not {tuple(targets[name].shape)}"
        for name, tensor in tensors.items()
        if tensor.shape != targets[name].shape
    ]
    if wrong:
        raise ValueError(
            f"{source} holds another architecture: {wrong[0]}"
            + (f", and {len(wrong) - 1} more tensors do not fit" if wrong[1:] else "")
            + "; choose the encoder that the file was made for"
        )
    module.load_state_dict(dict(tensors), strict=False)  # all but the counters were checked above
    return LoadReport(tuple(tensors), ())


def _optional(name: str) -> bool:
    return name.endswith("num_batches_tracked")  # old files have no such counter


def _load_ours(model: nn.Module, tensors: Mapping[str, Tensor], source: str) -> LoadReport:
    ours = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
    unknown = [name for name in ours if name not in model.state_dict()]
    if unknown:
        raise ValueError(
            f"{source} was trained as another recipe: {unknown[0]} has no place in this one; "
            "use the recipe that it was trained by (the starter's is starter)"
        )
    _load(model, ours, source)
    return LoadReport(tuple(ours), tuple(n for n in tensors if not n.startswith("model.")))


def _start_head(compressor: nn.Module, extra: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Give ImageNet's fully connected layers to the compressor that is made of them."""
    if hasattr(compressor, "classifier"):
        target, prefix = compressor.get_submodule("classifier"), "classifier."
    elif hasattr(compressor, "fc1"):
        target, prefix = compressor.get_submodule("fc1"), "fc."
    else:
        return ()
    names = [name for name in extra if name.startswith(prefix)]
    if not names:
        return ()
    tensors = {name.removeprefix(prefix): extra[name] for name in names}
    _load(target, tensors, "the fully connected part")
    return tuple(names)


def _refuse_strangers(unused: tuple[str, ...], source: str) -> None:
    strangers = [name for name in unused if not name.startswith(_FOREIGN_HEADS)]
    if strangers:
        raise ValueError(
            f"{source} holds {strangers[0]} and {len(strangers) - 1} other tensors that this "
            "encoder has no place for; choose the encoder that the file was made for"
        )


def torchvision_imagenet(encoder: str) -> dict[str, Tensor]:
    """ImageNet tensors of a torchvision encoder, from its cache or by download.

    Raises ValueError for encoders torchvision does not have and OSError, with what to do instead,
    where the download fails.
    """
    if encoder.startswith("timm/"):
        raise ValueError(
            f"weights=imagenet is torchvision's, which has no {encoder}; give weights=none or the "
            "path of a file"
        )
    weights = torchvision.models.get_model_weights(encoder)["IMAGENET1K_V1"]  # the papers' day
    try:
        return dict(weights.get_state_dict(progress=False, check_hash=True))
    except (OSError, RuntimeError) as error:  # no network, no room, or a torn download
        raise OSError(
            f"the ImageNet weights of {encoder} could not be downloaded from {weights.url} "
            f"({error}); connect, or give weights=none or weights=PATH to a local file"
        ) from error


def imagenet_at_hand(encoder: str) -> bool:
    """Whether torchvision's ImageNet weights of an encoder are on this disk already."""
    if encoder.startswith("timm/"):
        return False
    url = torchvision.models.get_model_weights(encoder)["IMAGENET1K_V1"].url
    return (Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]).is_file()
