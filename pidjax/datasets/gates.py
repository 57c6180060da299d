"""The classic gates: joints of a few fair bits whose decomposition is known in closed form.

=============  ===========  ===========  ==============  =============================================
gate           x1           x2           y               decomposition (nats, l = log 2)
=============  ===========  ===========  ==============  =============================================
and, or        a            b            a and/or b      R = 3/4 log 4/3, S = l/2
xor            a            b            a xor b         S = l
unique1        a            b            a               U1 = l
unique2        a            b            b               U2 = l
redundant      a            a            a               R = l
copy           a            b            (a, b)          U1 = U2 = l
rdn_xor        (a, b)       (a, c)       (a, b xor c)    R = S = l
rdn_unique1    (a, b)       (a, c)       (a, b)          R = U1 = l
red_and_u1     (a, b)       b            a and b         R = 3/4 log 4/3, U1 = l/2 (red_or_u1 likewise)
red_xor_u1     (a, b)       b            a xor b         U1 = l
=============  ===========  ===========  ==============  =============================================

Why: the union information is at least max(I1, I2), and each gate but copy has a coupling that attains it:
the joint itself or the one that pairs the symbols in order within each class. In copy, y fixes both inputs:
the joint is the only coupling.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pidjax.pid import PID

__all__ = ["GATES", "Gate"]


class Gate(NamedTuple):
    """A gate as the rule that makes it, and its decomposition in closed form.

    Attributes:
        rule: three arrays of fair bits to the symbols ``(x1, x2, y)``; two bits are the symbol ``2 a + b``.
        truth: the decomposition, Python floats, nats.

    Example:
        >>> gate = GATES["and"]
        >>> gate.joint[:, :, 1].tolist()
        [[0.0, 0.0], [0.0, 0.25]]
        >>> round(gate.truth.redundancy, 6), round(gate.truth.synergy, 6)
        (0.215762, 0.346574)
    """

    rule: Callable[[Any, Any, Any], tuple[Any, Any, Any]]
    truth: PID

    @property
    def joint(self) -> np.ndarray:
        """The joint ``p[x1, x2, y]``, float64, exact: every cell is a multiple of 1/8."""
        symbols = self.rule(*np.indices((2, 2, 2)).reshape(3, -1))
        p = np.zeros([s.max() + 1 for s in symbols])
        np.add.at(p, symbols, 1 / 8)
        return p


def _truth(redundancy: Any = 0.0, unique1: Any = 0.0, unique2: Any = 0.0, synergy: Any = 0.0) -> PID:
    return PID(redundancy=redundancy, unique1=unique1, unique2=unique2, synergy=synergy)


_L = math.log(2)
_AND = 0.75 * math.log(4 / 3)  # I(A; A and B) = H(Y) - H(Y|A) = (l/2 + 3/4 log 4/3) - l/2

GATES: dict[str, Gate] = {
    "and": Gate(lambda a, b, c: (a, b, a & b), _truth(redundancy=_AND, synergy=_L / 2)),
    "or": Gate(lambda a, b, c: (a, b, a | b), _truth(redundancy=_AND, synergy=_L / 2)),
    "xor": Gate(lambda a, b, c: (a, b, a ^ b), _truth(synergy=_L)),
    "unique1": Gate(lambda a, b, c: (a, b, a), _truth(unique1=_L)),
    "unique2": Gate(lambda a, b, c: (a, b, b), _truth(unique2=_L)),
    "redundant": Gate(lambda a, b, c: (a, a, a), _truth(redundancy=_L)),
    "copy": Gate(lambda a, b, c: (a, b, 2 * a + b), _truth(unique1=_L, unique2=_L)),
    "rdn_xor": Gate(lambda a, b, c: (2 * a + b, 2 * a + c, 2 * a + (b ^ c)), _truth(redundancy=_L, synergy=_L)),
    "rdn_unique1": Gate(lambda a, b, c: (2 * a + b, 2 * a + c, 2 * a + b), _truth(redundancy=_L, unique1=_L)),
    # x1 holds x2 and fixes y, so U2 = S = 0, R = I(X2;Y) and U1 = H(Y|X2).
    "red_and_u1": Gate(lambda a, b, c: (2 * a + b, b, a & b), _truth(redundancy=_AND, unique1=_L / 2)),
    "red_or_u1": Gate(lambda a, b, c: (2 * a + b, b, a | b), _truth(redundancy=_AND, unique1=_L / 2)),
    "red_xor_u1": Gate(lambda a, b, c: (2 * a + b, b, a ^ b), _truth(unique1=_L)),
}
