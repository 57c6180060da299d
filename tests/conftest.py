"""What every test shares. The user's x64 flag is left off: NumPy float64 in an eager call must answer in float64."""

import importlib.metadata
import os

# Before jax: one backend, so the same numbers on every machine; BLAS threads as the command line sets them (see there).
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
if importlib.metadata.version("jaxlib").startswith("0.10."):
    # Most of the suite's time is XLA's compiler; its older emitters, gone from later versions (which die of an unknown
    # flag), take half as long and make equally fast code for small problems.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def x64():
    """Trace in float64 for the length of a test."""
    with jax.enable_x64(True):
        yield
