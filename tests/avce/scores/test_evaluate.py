"""Scores are of the whole set, without padding, and the model is left as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from avce.config import Config
from avce.scores.evaluate import evaluate, predict_batches
from avce.scores.metrics import ClassScores, Scores, ccc
from tests.devices import DEVICES


class Reader(nn.Module):
    """Reads valence and arousal out of the first two pixels; dropout shows the mode."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))
        self.dropout = nn.Dropout(0.5)

    def predict(self, image):
        return self.dropout(image.flatten(1)[:, :2] * self.scale)


def samples(n: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    image = torch.randn(n, 3, 2, 2)
    return image, (image.flatten(1)[:, :2] + 0.3 * torch.randn(n, 2)).tanh()


@pytest.mark.parametrize("device", DEVICES)
def test_scores_do_not_depend_on_the_batches(device):
    image, target = samples()
    model = Reader().to(device)
    whole = evaluate(model, [(image, target)])
    parts = evaluate(model, list(zip(image.split(7), target.split(7), strict=True)))
    assert isinstance(whole, Scores) and isinstance(parts, Scores)
    assert whole.n == parts.n == 30
    assert parts.ccc == pytest.approx(whole.ccc, abs=1e-12)
    expected = ccc(Reader().eval().predict(image).detach().double(), target.double())
    assert whole.ccc == pytest.approx(expected.tolist(), abs=1e-12)


@pytest.mark.parametrize("device", DEVICES)
def test_padding_does_not_count(device):
    model = Reader().to(device)
    image, target = samples()
    rows = torch.arange(30)
    mask = torch.ones(32, dtype=torch.bool)
    mask[30:] = False
    padded = (
        torch.cat([image, image[:2]]),
        torch.cat([target, target[:2]]),
        torch.cat([rows, rows[:2]]),
        mask,
    )
    assert evaluate(model, [padded]) == evaluate(model, [(image, target)])


@pytest.mark.parametrize("training", [True, False])
def test_every_module_gets_its_mode_back(training):
    model = Reader().train(training)
    model.dropout.train(not training)
    evaluate(model, [samples()])
    assert (model.training, model.dropout.training) == (training, not training)


@pytest.mark.parametrize("device", DEVICES)
def test_predictions_come_with_their_rows(device):
    model = Reader().to(device)
    image, target = samples(5)
    rows = torch.tensor([40, 7, 9, 1, 3])
    mask = torch.tensor([True, True, True, True, False])
    (found,) = predict_batches(model, [(image, target, rows, mask)])
    assert found.row.tolist() == [40, 7, 9, 1]
    assert {each.device.type for each in found} == {device}
    assert found.preds.shape == (4, 2) and not found.preds.requires_grad
    counted = predict_batches(model, [(image[:3], target[:3]), (image[3:], target[3:])])
    assert [p.row.tolist() for p in counted] == [[0, 1, 2], [3, 4]]


def test_progress_is_told():
    told: list[tuple[int, int]] = []
    evaluate(Reader(), [samples(), samples()], progress=lambda *done: told.append(done))
    assert told == [(1, 2), (2, 2)]


def test_expressions_are_scored_by_accuracy():
    image = torch.zeros(3, 3, 2, 2)
    image.flatten(1)[:, :2] = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    target = torch.tensor([0, 1, 0])
    scores = evaluate(Reader(), [(image, target)], config=Config(task="expression", classes=2))
    assert isinstance(scores, ClassScores)
    assert scores.accuracy == pytest.approx(2 / 3)


def test_no_samples_is_an_error():
    with pytest.raises(ValueError, match="no sample to evaluate"):
        evaluate(Reader(), [])
