"""Optimisation layers: convex programs whose solutions are differentiable functions."""

from .closed import softmax, sparsemax
from .simplex import SoftMax, SparseMax

__all__ = ["SoftMax", "SparseMax", "softmax", "sparsemax"]
