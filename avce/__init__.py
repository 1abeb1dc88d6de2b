"""Learn valence and arousal from faces: method, trainer, scores, layers.

What a notebook needs is imported from here. Names are resolved when first used, so that
`from avce import RECIPES` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avce.config import Config, with_settings
    from avce.inference.predictor import Predictor
    from avce.layers import OptLayer, SoftMax, SolveError, SparseMax, sparsemax
    from avce.method.build import Method, build_method
    from avce.method.losses import (
        AVCELoss,
        BarlowTwinsLoss,
        DiscriminativeLoss,
        InfoNCELoss,
        RegressionLoss,
    )
    from avce.method.models import AVModel
    from avce.method.similarity import Similarity, angle
    from avce.recipes import RECIPES
    from avce.scores.metrics import Moments, Scores, ccc, pcc
    from avce.training.run_folder import load_run
    from avce.training.trainer import fit

_HOMES = {
    "RECIPES": "recipes",
    "Config": "config",
    "with_settings": "config",
    "OptLayer": "layers",
    "SoftMax": "layers",
    "SolveError": "layers",
    "SparseMax": "layers",
    "sparsemax": "layers",
    "AVCELoss": "method.losses",
    "BarlowTwinsLoss": "method.losses",
    "DiscriminativeLoss": "method.losses",
    "InfoNCELoss": "method.losses",
    "RegressionLoss": "method.losses",
    "Method": "method.build",
    "build_method": "method.build",
    "Moments": "scores.metrics",
    "Scores": "scores.metrics",
    "ccc": "scores.metrics",
    "pcc": "scores.metrics",
    "AVModel": "method.models",
    "Predictor": "inference.predictor",
    "load_run": "training.run_folder",
    "Similarity": "method.similarity",
    "angle": "method.similarity",
    "fit": "training.trainer",
}

__all__ = [
    "RECIPES",
    "AVCELoss",
    "AVModel",
    "BarlowTwinsLoss",
    "Config",
    "DiscriminativeLoss",
    "InfoNCELoss",
    "Method",
    "Moments",
    "OptLayer",
    "Predictor",
    "RegressionLoss",
    "Scores",
    "Similarity",
    "SoftMax",
    "SolveError",
    "SparseMax",
    "angle",
    "build_method",
    "ccc",
    "fit",
    "load_run",
    "pcc",
    "sparsemax",
    "with_settings",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'avce' has no attribute {name!r}")
    value = getattr(import_module(f"avce.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
