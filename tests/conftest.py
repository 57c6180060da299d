"""What every test shares. The user's x64 flag is left off: NumPy float64 in an eager call must answer in float64."""

import os

# Before jax: one backend, so the same numbers on every machine. Most of the suite's time is XLA's compiler; its older
# emitters take half as long as the default ones here and make equally fast code.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command line does; see there
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Trace in float64 for the length of a test."""
    with jax.enable_x64(True):
        yield
