"""Scores of predictions; here what is scored, and the names of the numbers."""

import math

AXES = ("valence", "arousal")
TITLES = {
    "rmse": "RMSE",
    "sagr": "SAGR",
    "pcc": "PCC",
    "ccc": "CCC",
    "accuracy": "accuracy",
    "mean_class_accuracy": "mean class accuracy",
}
METRICS = ("rmse", "sagr", "pcc", "ccc")
CLASS_METRICS = ("accuracy", "mean_class_accuracy")


def title(metric: str, k: int) -> str:
    """The head of a column: CCC V, CCC A, or accuracy, which has no axis."""
    return f"{TITLES[metric]} {'VA'[k]}" if metric in METRICS else TITLES[metric]


def defined(value: float) -> float | None:
    """None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value
