"""A few random programs; `python -m tests.avce.layers.random_programs 2000` tries as many more."""

from __future__ import annotations

import pytest

from .random_programs import verdict


@pytest.mark.parametrize("seed", range(1, 10))
def test_engines_cvxpy_and_differences_agree(seed):
    assert verdict(seed) == "solved"
