"""Learn valence and arousal from faces: method, trainer, scores, layers.

What a notebook needs is imported from here. Names are resolved when first used, so that
`from avce import RECIPES` does not wait for torch. `evaluate` is not among them: the package
attribute of that name is its module, so write `from avce.evaluate import evaluate`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from avce.config import RECIPES, Config, with_settings
    from avce.layers import OptLayer, SoftMax, SolveError, SparseMax, sparsemax
    from avce.losses import (
        AVCELoss,
        BarlowTwinsLoss,
        DiscriminativeLoss,
        InfoNCELoss,
        RegressionLoss,
    )
    from avce.methods import Method, build_method
    from avce.metrics import Moments, Scores, ccc, pcc
    from avce.models import AVModel
    from avce.predict import Predictor
    from avce.runs import load_run
    from avce.similarity import Similarity, angle
    from avce.trainer import fit

_HOMES = {
    "RECIPES": "config",
    "Config": "config",
    "with_settings": "config",
    "OptLayer": "layers",
    "SoftMax": "layers",
    "SolveError": "layers",
    "SparseMax": "layers",
    "sparsemax": "layers",
    "AVCELoss": "losses",
    "BarlowTwinsLoss": "losses",
    "DiscriminativeLoss": "losses",
    "InfoNCELoss": "losses",
    "RegressionLoss": "losses",
    "Method": "methods",
    "build_method": "methods",
    "Moments": "metrics",
    "Scores": "metrics",
    "ccc": "metrics",
    "pcc": "metrics",
    "AVModel": "models",
    "Predictor": "predict",
    "load_run": "runs",
    "Similarity": "similarity",
    "angle": "similarity",
    "fit": "trainer",
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
