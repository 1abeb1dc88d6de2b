"""Optimisation layers: convex programs whose solutions are differentiable functions."""

from .optlayer import OptLayer, SolveError
from .simplex import SoftMax, SparseMax, softmax, sparsemax

__all__ = ["OptLayer", "SoftMax", "SolveError", "SparseMax", "softmax", "sparsemax"]
