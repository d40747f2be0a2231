"""The grid of an expansion, and its angular coordinate."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

# Latitudes crowd towards the plane within this sine, and are even in angle at the axis in this proportion:
# chosen by the largest force error over the exponential discs and galaxies of tests/data.
CROWDING = 0.01
AXIS = 0.35
# Sine of the angle from the plane and the axis below which the coordinate keeps its value there, so that its
# derivatives with respect to R^2 and z^2 are finite: well above rounding, well below any structure.
SOFTENING = 1e-5


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where an expanded potential is tabulated, and how it is read.

    Parameters
    ----------
    n_r : int
        Radii, even in ln r.
    n_theta : int
        Cells in latitude between the plane and the axis.
    r_min, r_max : float
        Range of the radii (kpc); power laws continue the potential beyond.
    degree : int
        Of the splines, 5 or 3. A quintic reads 36 numbers, a cubic 16, but the cubic needs four times as
        many of them for a force ten times less accurate.

    Notes
    -----
    On the default grid the force between 10 pc and 100 kpc is right to 1e-5, and 3e-7 in the median, for
    exponential discs down to a scale height of 40 pc, galaxies made of them, and halos of axis ratio 0.2 to
    2.5; on `Grid.fine()` to 1e-6 and 5e-8. Layers of 20 pc, halos of axis ratio 3, and gas with a hole where
    its own force vanishes have errors of up to 1e-4.
    `potential.expansion_error` measures it for any model.

    >>> Grid().n_r, Grid.fine().n_r
    (96, 160)
    """

    n_r: int = 96
    n_theta: int = 32
    r_min: float = 1e-4
    r_max: float = 1e4
    degree: int = 5

    def __post_init__(self):
        if self.degree not in (3, 5):
            raise ValueError(f"Grid(degree={self.degree}): degree must be 3 or 5")
        for name, least in (("n_r", 16), ("n_theta", 6)):
            if getattr(self, name) < least:
                raise ValueError(f"Grid({name}={getattr(self, name)}): {name} must be at least {least}")
        if not 0.0 < self.r_min < self.r_max:
            raise ValueError(f"Grid(r_min={self.r_min}, r_max={self.r_max}): needs 0 < r_min < r_max, in kpc")

    @classmethod
    def fine(cls) -> "Grid":
        """The grid for forces to better than 1e-6."""
        return cls(n_r=160, n_theta=48)

    @property
    def step(self) -> float:
        """Spacing in ln r."""
        return float(np.log(self.r_max / self.r_min)) / (self.n_r - 1)


def angular_coordinate(sine2, cosine2, xp=jnp, softening2: float = SOFTENING**2):
    """tau(latitude), which rises from the plane to the axis, from sin^2 = z^2/r^2 and cos^2 = R^2/r^2.

    tau = ln(s + sqrt(s^2 + 0.02^2))/norm - 0.4 c with s and c the sine and cosine. It is linear in the angle
    at either end, so that a density with a kink in the plane or on the axis is smooth in tau.
    """
    sine2 = sine2 + softening2
    crowded = xp.log(xp.sqrt(sine2) + xp.sqrt(sine2 + CROWDING * CROWDING))
    return crowded / float(np.arcsinh(1.0 / CROWDING)) - AXIS * xp.sqrt(cosine2 + softening2)


@functools.cache
def angular_range() -> tuple[float, float]:
    """tau in the plane and on the axis."""
    plane, axis = (angular_coordinate(np.float64(s), np.float64(1.0 - s), np, 0.0) for s in (0.0, 1.0))
    return float(plane), float(axis)
