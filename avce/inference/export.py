"""`export`: what inference needs of a run, as safetensors or ONNX, and a card with its limits.

export("runs/demo")                       # model.safetensors and MODEL_CARD.md
Predictor.load("runs/demo/export")        # and back
onnxruntime.InferenceSession("runs/demo/export/model.onnx")  # of format="onnx"
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor, nn

from avce.config import Config
from avce.durable import write_aside
from avce.inference.predictor import boxes_of, class_names, crop_of
from avce.method.encoders import MEAN, STD
from avce.method.models import AVModel
from avce.training.checkpoint import as_safetensors
from avce.training.record import RunRecord
from avce.training.run_folder import Which, load_run
from pipelines.pixels import CROP
from shards.crop import Crop

Format = Literal["safetensors", "onnx"]
TOLERANCE = 1e-4  # between torch and onnxruntime, of outputs in about [-1, 1]
_BATCH = 3  # traced and checked with, and checked with one more and with one


def export(
    run: Path | str,
    to: Path | str | None = None,
    format: Format = "safetensors",
    which: Which = "best",
    scores: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write the model of a run and its card into `to` (RUN/export); returns the files.

    `scores` are `Evaluation.as_dict()` with intervals; without them the card has the run's own
    validation scores. Raises ValueError where `to` is a run, which is read by other names, or
    where ONNX is not installed or computes something else.
    """
    run = Path(run)
    method, config, record = load_run(run, which)
    folder = Path(to) if to else run / "export"
    if (folder / "run.json").exists():
        raise ValueError(f"{folder} is a run, and its model would lie twice; name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    classes = class_names(config, record.shards.classes)
    described = description(config, crop_of(record), boxes_of(record), classes)
    if format == "onnx":
        path = _write_onnx(folder / "model.onnx", method.model, config, described)
    else:
        path = folder / "model.safetensors"
        write_aside(path, as_safetensors(method.model.state_dict(), avce=json.dumps(described)))
    card = folder / "MODEL_CARD.md"
    write_aside(card, model_card(record, which, scores).encode())
    return [path, card]


def description(
    config: Config, crop: Crop, boxes: str | None = None, classes: Sequence[str] = ()
) -> dict[str, Any]:
    """What a program must know to use the weights, as plain values."""
    return {
        "config": config.to_dict(),
        "framing": {"margin": crop.margin, "size": crop.size},
        "boxes": boxes,
        "input": {
            "shape": ["batch", 3, config.image_size, config.image_size],
            "colours": "RGB",
            "range": [0, 1],
            "mean": MEAN,
            "std": STD,
            "centre": CROP,
        },
        "outputs": outputs_of(config, classes),
        **({"classes": list(classes)} if classes else {}),
    }


def outputs_of(config: Config, classes: Sequence[str] = ()) -> list[str]:
    """The name of each output number; of classes that have names, those."""
    if config.task == "va":
        return ["valence", "arousal"]
    named = dict(enumerate(classes))
    return [f"logit of {named.get(k, f'expression {k}')}" for k in range(config.classes)]


# ---------------------------------------------------------------------------------- ONNX


def _write_onnx(path: Path, model: AVModel, config: Config, described: dict[str, Any]) -> Path:
    """Trace, check against torch at three batch sizes, then put in place."""
    try:
        import onnx
        import onnxruntime  # noqa: F401 (asked for before the long part begins)
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"ONNX export needs {error.name}, which is not installed; pip install 'avce[onnx]'"
        ) from None
    plain = copy.deepcopy(model).cpu().eval()
    program = onnx.load_model_from_string(_traced(plain, config))
    facts = program.metadata_props.add()
    facts.key, facts.value = "avce", json.dumps(described)
    content = program.SerializeToString()
    _check(content, plain, config, path)
    write_aside(path, content)
    return path


def _traced(model: nn.Module, config: Config) -> bytes:
    example = _example(_BATCH, config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.export warns about itself
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            input_names=["image"],
            output_names=["prediction"],
            verbose=False,
        )
    assert program is not None
    return program.model_proto.SerializeToString()


def _example(n: int, config: Config) -> Tensor:
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, 3, config.image_size, config.image_size, generator=generator)


def _check(content: bytes, model: nn.Module, config: Config, path: Path) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for n in (1, _BATCH, _BATCH + 1):
        image = _example(n, config)
        with torch.no_grad():
            expected = model(image).numpy()
        found = cast(np.ndarray, session.run(None, {"image": image.numpy()})[0])
        worst = np.abs(found - expected).max() / max(1.0, np.abs(expected).max())
        if found.shape != expected.shape or not worst <= TOLERANCE:
            raise ValueError(
                f"{path} was not written: onnxruntime differs from torch by {worst:.1e} at batch "
                f"{n}, more than {TOLERANCE}; export safetensors, or try other versions of onnx"
            )


# ---------------------------------------------------------------------------------- the card


def model_card(
    record: RunRecord,
    which: Which = "best",
    scores: Mapping[str, Any] | None = None,
) -> str:
    """What the model is, learned from, and scores; how to feed it, and what not to use it for."""
    config, shards = record.config, record.shards
    return _CARD.format(
        encoder=config.encoder,
        what="valence and arousal in [-1, 1]" if config.task == "va" else "expressions",
        method=f"{config.method}, {config.formula}, {config.phases}",
        which=which,
        commit=record.git_commit or "unknown",
        datasets=", ".join(shards.datasets or shards.folders or ["not recorded"]),
        digest=shards.digest or "not recorded",
        scores=_score_lines(scores or (record.scores or {}).get(which) or {}),
        size=config.image_size,
        crop=crop_of(record),
        centre=CROP,
        mean=", ".join(map(str, MEAN)),
        std=", ".join(map(str, STD)),
        outputs=", ".join(outputs_of(config, class_names(config, record.shards.classes))),
    )


def _score_lines(scores: Mapping[str, Any]) -> str:
    """A table of metrics, with 95 % intervals where they are known."""
    if "accuracy" in scores:
        accuracy = f"{scores['accuracy']:.3f}{_interval(scores, 'accuracy', 0)}"
        return f"Accuracy {accuracy}, n = {scores.get('n', '?')}."
    if "valence" not in scores:
        return "Not recorded: the run was exported before it was evaluated."
    metrics = ("rmse", "sagr", "pcc", "ccc")
    lines = ["| | RMSE | SAGR | PCC | CCC |", "|---|---|---|---|---|"]
    for k, axis in enumerate(("valence", "arousal")):
        cells = [_cell(scores, axis, metric, k) for metric in metrics]
        lines.append(f"| {axis} | {' | '.join(cells)} |")
    known = "95 % bootstrap intervals in brackets" if "intervals" in scores else "without intervals"
    return "\n".join([*lines, "", f"n = {scores.get('n', '?')}, {known}."])


def _cell(scores: Mapping[str, Any], axis: str, metric: str, k: int) -> str:
    value = scores[axis].get(metric)
    if value is None:
        return "undefined"
    return f"{value:.3f}{_interval(scores, metric, k)}"


def _interval(scores: Mapping[str, Any], metric: str, k: int) -> str:
    found = (scores.get("intervals") or {}).get(metric) or []
    return f" [{found[k][0]:.3f}, {found[k][1]:.3f}]" if k < len(found) and found[k] else ""


_CARD = """# Model card

A {encoder} that reads {what} from a picture of a face. Trained with AVCE ({method}); the {which}
weights of a run at commit {commit}.

## Data

Shards: {datasets} (digest {digest}). The data sets of this field (AffectNet, Aff-Wild, Aff-Wild2,
AFEW-VA, RAF-DB) are given for research that is not commercial, under an agreement with their
owners. Weights trained on them are bound by those terms: read them before you use or share this
model. A model trained on drawn faces knows drawn faces only.

## Scores

{scores}

Scores are of the validation part of the same data set, unless said otherwise. On other cameras,
people and situations expect less.

## Input

- a float32 tensor `image` (batch, 3, {size}, {size}), any batch, colours in the order RGB
- cropped around the face: a square with a margin of {crop.margin:.4f} of the box's longer side
  on each of the four sides, resized to {crop.size} pixels, of which the middle {centre} is taken
  and, where that is another size, resized to {size}
- pixels divided by 255, less the mean ({mean}), divided by the deviation ({std})

Output: {outputs}. Valence is how pleasant a feeling is, arousal how excited.

## Use

For research on how faces are seen: estimates of the emotion that observers would *perceive* in a
picture, averaged over many pictures.

```python
from avce import Predictor

Predictor.load("this folder")([picture])  # uint8 (H, W, 3) RGB, one face each
```

## Limits

- What a person feels cannot be read from a face alone. Labels are what annotators thought, and they
  disagree.
- Faces seldom seen in the training data (age, skin, head pose, culture, light) are read worse;
  measure that on your own people before you rely on it.
- Not for decisions about persons: hiring, education, policing, health, insurance. In some countries
  the law forbids such use; the AI Act of the EU does at work and in schools.
"""
