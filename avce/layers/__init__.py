"""Optimisation layers: convex programs whose solutions are differentiable functions."""

from .closed import softmax, sparsemax
from .optlayer import OptLayer, SolveError
from .simplex import SoftMax, SparseMax

__all__ = ["OptLayer", "SoftMax", "SolveError", "SparseMax", "softmax", "sparsemax"]
