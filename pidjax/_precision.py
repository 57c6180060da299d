"""Dtypes are kept: the one place that decides in which precision an eager call runs."""

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import jax
import numpy as np

__all__ = ["in_own_precision", "is_traced"]

P = ParamSpec("P")
T = TypeVar("T")


def is_traced(*trees: Any) -> bool:
    """True when any leaf is being traced (jit, vmap, grad), so that its value can't be looked at."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(trees))


def in_own_precision(function: Callable[P, T]) -> Callable[P, T]:
    """Let an eager call on float64 arrays answer in float64, whatever the user's ``jax_enable_x64``.

    The flag is set for the length of the call only. Anything traced follows the user's flag, as jax does.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        leaves = jax.tree.leaves((args, kwargs))
        wide = any(getattr(leaf, "dtype", None) == np.float64 for leaf in leaves)
        if wide and not is_traced(leaves):
            with jax.enable_x64(True):
                return function(*args, **kwargs)
        return function(*args, **kwargs)

    return call
