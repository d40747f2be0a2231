"""Outcome codes carried beside numbers that can fail inside jit.

Inside jit nothing raises: a failed number is NaN and its code says why. Codes are plain
integers, so that they live in arrays.

>>> Result.UNBOUND.sentence
'the star is not bound: E >= Phi(infinity), so it has no actions'
"""

from enum import IntEnum


class Result(IntEnum):
    """Why a number is what it is (0: all is well)."""

    OK = 0
    NONFINITE = 1
    UNBOUND = 2
    NOT_CONVERGED = 3
    OUTSIDE = 4
    INACCURATE = 5

    @property
    def sentence(self) -> str:
        """The code in words."""
        return _SENTENCES[self]


_SENTENCES = {
    Result.OK: "converged",
    Result.NONFINITE: "the input holds NaN or infinity",
    Result.UNBOUND: "the star is not bound: E >= Phi(infinity), so it has no actions",
    Result.NOT_CONVERGED: "the iteration did not reach its tolerance",
    Result.OUTSIDE: "the input lies outside the tabulated range",
    Result.INACCURATE: "a result was found, but its residual is above the tolerance that was asked for",
}
