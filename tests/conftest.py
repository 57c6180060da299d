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


@pytest.fixture(scope="session")
def tiny_lsmi():
    """Settings of LSMI that compile and train in seconds: linear classifiers of two labels, one kernel, two folds."""
    import flax.linen as nn
    import jax.numpy as jnp

    from pidjax.estimators import LsmiRecipe

    class Linear(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = jnp.concatenate(jax.tree.leaves(x), 1)
            return nn.Dense(2, kernel_init=nn.initializers.zeros_init())(x)

    return LsmiRecipe(
        folds=2, repeats=1, steps=100, batch_size=64, learning_rate=0.1, weight_decay=0.0, net1=Linear(), net2=Linear(),
        net12=Linear(), kernels=(1,), knife_steps=60, knife_batch_size=64,
    )  # fmt: skip
