"""What every test shares. The user's x64 flag is left off: NumPy float64 in an eager call must answer in float64."""

import os

# Before jax: one backend, no pre-allocation surprises, the same numbers on every machine.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Trace in float64 for the length of a test."""
    with jax.enable_x64(True):
        yield
