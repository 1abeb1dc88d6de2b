"""`evaluate`: scores over a whole set, on any number of ranks; `predict_batches`: row by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from avce.config import Config
from avce.scores.metrics import ClassScores, Confusion, Moments, Scores

Progress = Callable[[int, int], None]


class Predicted(NamedTuple):
    """What a model said about some rows, padding left out. `target` is as the batch gave it."""

    row: Tensor  # (b,) int64: position in the label index, or in the stream when it names no rows
    preds: Tensor  # (b, 2) valence and arousal, or (b, classes) logits
    target: Tensor  # (b, 2), or (b,) class codes


def evaluate(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    config: Config | None = None,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> Scores | ClassScores:
    """Score `model` over all of `batches`; the moments are of the whole set, not of batches.

    `model` is a Method (its `predict` is called) or any module from images to predictions.
    `batches` yields (image, target) or (image, target, row, mask); where mask is False a sample is
    padding and does not count. Under torch.distributed every rank brings its own part, as many
    batches as the others, and all ranks return the scores of the whole. `config` chooses the
    conventions (moments, zeros, clipping); `progress` gets (batches done, batches).

    The train/eval mode of every module is as before afterwards. Raises ValueError when there is
    no sample or a prediction is not finite.
    """
    meter = meter_for(config or Config())
    for predicted in predict_batches(model, batches, device=device, progress=progress):
        meter.update(predicted.preds, predicted.target)
    meter.all_reduce(device_of(model))
    scores = meter.scores() if meter.state.any() else None
    if scores is None or not scores.n:
        raise ValueError("there is no sample to evaluate; does the selection hold this split?")
    return scores


def predict_batches(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    predict: Callable[[Tensor], Tensor] | None = None,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> Iterator[Predicted]:
    """What `model` says about every sample of `batches`, in their order, padding left out.

    `predict` is asked in place of the model's own: for something that lies inside it.
    """
    device = torch.device(device) if device is not None else device_of(model)
    predict = predict or predictor_of(model)
    total = len(batches) if hasattr(batches, "__len__") else 0  # type: ignore[arg-type]
    seen = 0
    with evaluating(model):
        for done, batch in enumerate(batches, start=1):
            image, target = (tensor.to(device, non_blocking=True) for tensor in batch[:2])
            with torch.no_grad():
                preds = predict(image)
            rows = batch[2] if len(batch) > 2 else torch.arange(seen, seen + len(image))
            seen += len(image)
            yield unpadded(Predicted(rows.to(device), preds, target), batch)
            if progress:
                progress(done, total)


def predictor_of(model: nn.Module) -> Callable[[Tensor], Tensor]:
    """`predict` of a Method; any other module itself."""
    return cast(Callable[[Tensor], Tensor], getattr(model, "predict", model))


def unpadded(predicted: Predicted, batch: Any) -> Predicted:
    """Drop the samples whose mask is False."""
    if len(batch) < 4:
        return predicted
    mask = batch[3].to(predicted.preds.device)
    return Predicted(*(tensor[mask] for tensor in predicted))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside the block; afterwards each module has the mode it had."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in before:
            module.training = training


def meter_for(config: Config) -> Moments | Confusion:
    """An empty meter with the conventions of `config`."""
    if config.task == "expression":
        return Confusion(config.classes)
    return Moments(
        moments=config.eval_moments,
        zero=config.sagr_zero,
        rmse=config.rmse,
        clip=config.clip,
        label_scale=config.label_scale,
    )


def device_of(model: nn.Module) -> torch.device:
    """Where the parameters are; the CPU for a model without any."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))
