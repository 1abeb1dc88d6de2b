"""Optimisation layers: convex programs whose solutions are differentiable functions."""

from .optlayer import OptLayer, SolveError
from .simplex import Entmax15, SimplexMap, SoftMax, SparseMax, entmax15, softmax, sparsemax

__all__ = [
    "Entmax15",
    "OptLayer",
    "SimplexMap",
    "SoftMax",
    "SolveError",
    "SparseMax",
    "entmax15",
    "softmax",
    "sparsemax",
]
