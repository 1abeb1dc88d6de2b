"""Optimisation layers: convex programs whose solutions are differentiable functions."""

from .optlayer import OptLayer, SolveError
from .simplex import SimplexMap, SoftMax, SparseMax, softmax, sparsemax

__all__ = ["OptLayer", "SimplexMap", "SoftMax", "SolveError", "SparseMax", "softmax", "sparsemax"]
