"""The observed stars as arrays."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from oortax.params import as_array

_REQUIRED = ("l", "b")
# Any of them may be NaN, and then its error does not matter.
_OPTIONAL = ("parallax", "distance_modulus", "v_los", "mu_l", "mu_b")


@final
class Catalogue(eqx.Module):
    """N observed stars; arrays only, missing values are NaN.

    Attributes
    ----------
    l, b : shape (N,), rad
        Galactic coordinates, taken as exact.
    parallax, parallax_error : shape (N,), mas
        NaN where not measured.
    distance_modulus, distance_modulus_error : shape (N,), mag
        From another source than V (whose F(M) is part of the model); NaN where there is none.
    mu_l, mu_b, mu_l_error, mu_b_error : shape (N,), mas/yr
        Proper motion (mu_l includes cos b); both components NaN where not measured.
    mu_lb_corr : shape (N,)
        Correlation of their errors.
    v_los, v_los_error : shape (N,), km/s
        Heliocentric line-of-sight velocity; NaN where not measured.
    V, colour : shape (N,), mag
        NaN where not measured.

    A star needs a velocity (proper motion, v_los or both) and a distance (parallax, distance modulus, V or
    any of them together; from V it follows by F(M)). What else is missing is integrated over. Columns other
    than l and b may be left out (not the error of a parallax or modulus that is given): errors are then 0,
    everything else NaN.

    Raises ValueError if a column is missing, has another length, holds NaN where it must not, or a negative
    error, and for stars without velocity or distance.
    """

    l: Float[Array, " N"]
    b: Float[Array, " N"]
    parallax: Float[Array, " N"]
    parallax_error: Float[Array, " N"]
    distance_modulus: Float[Array, " N"]
    distance_modulus_error: Float[Array, " N"]
    mu_l: Float[Array, " N"]
    mu_b: Float[Array, " N"]
    mu_l_error: Float[Array, " N"]
    mu_b_error: Float[Array, " N"]
    mu_lb_corr: Float[Array, " N"]
    v_los: Float[Array, " N"]
    v_los_error: Float[Array, " N"]
    V: Float[Array, " N"]
    colour: Float[Array, " N"]

    def __init__(self, **columns):
        known = tuple(self.__dataclass_fields__)
        missing = [name for name in _REQUIRED if name not in columns]
        for name in ("parallax", "distance_modulus"):
            if name in columns and f"{name}_error" not in columns:
                missing.append(f"{name}_error")
        if missing:
            raise ValueError(f"Catalogue: missing column{'s' * (len(missing) > 1)} {', '.join(missing)}")
        N = len(columns["l"])
        defaults = {"mu_lb_corr": 0.0} | {name: 0.0 for name in known if name.endswith("_error")}
        for name in known:
            value = columns.get(name)
            value = np.full(N, defaults.get(name, np.nan)) if value is None else np.asarray(value)
            if value.shape != (N,):
                raise ValueError(f"Catalogue: column {name} has shape {value.shape}, not ({N},)")
            if name in _REQUIRED and not np.all(np.isfinite(value)):
                rows = np.flatnonzero(~np.isfinite(value))
                raise ValueError(
                    f"Catalogue: column {name} is not finite in {len(rows)} rows (first {rows[0]}); drop them"
                )
            setattr(self, name, as_array(value))
        for name in _OPTIONAL:
            measured = np.isfinite(getattr(self, name))
            name = f"{name}_error"
            error = np.asarray(getattr(self, name))
            bad = measured & ~(np.isfinite(error) & (error >= 0.0))
            if np.any(bad):
                rows = np.flatnonzero(bad)
                raise ValueError(
                    f"Catalogue: column {name} is negative or not finite in {len(rows)} rows "
                    f"(first {rows[0]}); give an error or drop them"
                )

        known = {name: np.isfinite(np.asarray(getattr(self, name))) for name in (*_OPTIONAL, "V")}
        for bad, what in (
            (known["mu_l"] != known["mu_b"], "one of mu_l and mu_b alone"),
            (~known["mu_l"] & ~known["v_los"], "neither a proper motion (mu_l, mu_b) nor v_los"),
            (
                ~known["parallax"] & ~known["distance_modulus"] & ~known["V"],
                "no parallax, distance_modulus or V",
            ),
        ):
            if np.any(bad):
                rows = np.flatnonzero(bad)
                raise ValueError(f"Catalogue: {len(rows)} rows (first {rows[0]}) have {what}; drop them")

    def __len__(self) -> int:
        return self.l.shape[0]

    @property
    def has_v_los(self):
        """Where v_los was measured, shape (N,)."""
        return jnp.isfinite(self.v_los)
