"""Is the other modality worth collecting, and a complex fusion worth building? Numbers, before any pair is labelled."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from pidjax._precision import in_own_precision
from pidjax.accuracy import accuracy_bounds
from pidjax.info import entropy
from pidjax.pid import Interval
from pidjax.typing import ArrayLike

__all__ = ["Outlook", "outlook"]


class Outlook(NamedTuple):
    """What labelled pairs would be expected to give. Accuracies are of the best possible classifiers.

    Attributes:
        accuracy: of both modalities together, ``Interval``: what the bounds on I(X1,X2;Y) leave.
        expected: the estimate of it, the middle of the interval.
        gain_of_x1: ``expected`` less the accuracy of x2 alone: what collecting x1 beside x2 is expected to bring.
        gain_of_x2: likewise, of collecting x2 beside x1.
        gain: ``expected`` less the better single modality: what a labelled pair brings at all.
        synergy: the middle of the synergy's bounds, nats.
        synergy_share: its share of the middle of I(X1,X2;Y): what a fusion has to learn of the pair, beyond what each
            modality says. Small: a simple (additive) fusion will do; large: a complex one has something to find.
    """

    accuracy: Interval
    expected: Any
    gain_of_x1: Any
    gain_of_x2: Any
    gain: Any
    synergy: Any
    synergy_share: Any


@in_own_precision
def outlook(
    synergy: Interval, information: Interval, p_y: ArrayLike, *, accuracy1: ArrayLike, accuracy2: ArrayLike
) -> Outlook:
    """What to expect of both modalities together, from bounds and from the accuracies of each alone.

    Args:
        synergy: lower and upper bound, scalars, nats: ``Interval(bounds.lower, bounds.upper)``.
        information: lower and upper bound of I(X1,X2;Y), scalars, nats: ``bounds.information``; what is above H(Y) is
            cut.
        p_y: the label's distribution, ``(k,)``, sum one.
        accuracy1: of the best classifier of x1 alone, in [0, 1].
        accuracy2: of the best classifier of x2 alone.

    Returns:
        An ``Outlook``: differences, no thresholds. Works under jit, vmap and grad.

    Raises:
        ValueError: what ``accuracy_bounds`` refuses.

    Example:
        >>> import numpy as np
        >>> from pidjax.bounds import synergy_bounds
        >>> xor = np.zeros((2, 2, 2)); xor[[0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]] = 0.25
        >>> found = synergy_bounds(xor.sum(1), xor.sum(0), xor.sum(2))
        >>> seen = Interval(found.lower, found.upper)
        >>> told = outlook(seen, found.information, np.full(2, 0.5), accuracy1=0.5, accuracy2=0.5)
        >>> print("accuracy {:.2f} to {:.2f}".format(*told.accuracy), f"gain {told.gain:.2f}")
        accuracy 0.50 to 1.00 gain 0.25

    References:
        arXiv 2306.04539, section 4 (the midpoint as estimate; the differences as advice).
    """
    best = jnp.maximum(accuracy1, accuracy2)
    h_y = entropy(p_y)
    information = Interval(*(jnp.clip(end, 0.0, h_y) for end in information))
    found = accuracy_bounds(information, p_y, at_least=best)
    expected = found.midpoint
    middle = (synergy.lower + synergy.upper) / 2
    total = (information.lower + information.upper) / 2
    return Outlook(
        accuracy=Interval(found.lower, found.upper),
        expected=expected,
        gain_of_x1=expected - accuracy2,
        gain_of_x2=expected - accuracy1,
        gain=expected - best,
        synergy=middle,
        synergy_share=jnp.where(total > 0, middle / jnp.where(total > 0, total, 1.0), 0.0),
    )
