"""Scores of predictions; here what is scored, and the names of the numbers."""

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
