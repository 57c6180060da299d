"""The few types that every floor shares: arrays, keys and samples."""

from typing import NamedTuple

import jax
from jax.typing import ArrayLike

__all__ = ["Array", "ArrayLike", "Key", "Samples"]

Array = jax.Array
Key = jax.Array


class Samples(NamedTuple):
    """Paired observations of two modalities and a target; the leading axis of every leaf is the sample.

    Attributes:
        x1: first modality, ``(n, ...)`` features or ``(n,)`` integer symbols; None when missing.
        x2: second modality, likewise.
        y: target labels, ``(n,)`` integers; None when missing.
        weight: ``(n,)`` non-negative weights; None means all ones. Weights make the bootstrap, padding and
            ragged datasets one ``vmap``.
    """

    x1: ArrayLike | None = None
    x2: ArrayLike | None = None
    y: ArrayLike | None = None
    weight: ArrayLike | None = None
