"""Masers with parallaxes, proper motions and line-of-sight velocities."""

from typing import ClassVar, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpyro.distributions import constraints

from oortax.constants import KAPPA
from oortax.model.constraints.base import AbstractConstraint, Prediction
from oortax.params import param
from oortax.survey import position

S_MAX = 25.0
"""No node lies beyond this distance, in kpc."""


def parallax_nodes(
    parallax: np.ndarray, error: np.ndarray, n: int = 21, power: float = 0.0, reach: float = 4.0
) -> tuple[np.ndarray, np.ndarray]:
    """Distances s (kpc) and ln weights, each (N, n), of int ds s^power N(parallax | 1/s, error) f(s).

    The trapezium rule in the true parallax over `reach` errors either side, which converges
    exponentially for the smooth f in question; distances beyond 25 kpc are left out. ln weights include the
    Gaussian's density, so that sum_k exp(log_w_k) is its integral with f = 1.

    >>> s, log_w = parallax_nodes(np.array([0.5]), np.array([0.02]), power=-2.0)
    >>> round(float(np.exp(log_w).sum()), 4)
    0.9999
    """
    low = np.maximum(parallax - reach * error, 1.0 / S_MAX)
    high = parallax + reach * error
    true = low[:, None] + (high - low)[:, None] * np.linspace(0.0, 1.0, n)
    step = ((high - low) / (n - 1))[:, None] * np.where(np.isin(np.arange(n), (0, n - 1)), 0.5, 1.0)
    pull = (parallax[:, None] - true) / error[:, None]
    log_gauss = -0.5 * pull**2 - np.log(np.sqrt(2.0 * np.pi) * error[:, None])
    # |ds/dparallax| = s^2.
    return 1.0 / true, log_gauss + np.log(step) - (power + 2.0) * np.log(true)


class _Moments(NamedTuple):
    """Residual velocities (along l, b and the line of sight, km/s) and their covariances, at one node."""

    residual: Float[Array, "3"]
    motions: Float[Array, "3 3"]
    errors: Float[Array, "3 3"]


@final
class Masers(AbstractConstraint):
    """Masers of young stars on nearly circular orbits: all six coordinates, distances marginalised.

    A source at (l, b, s) moves with v_c(R) + V_s along rotation and U_s towards the Galactic centre (Reid's
    convention) with a Gaussian scatter sigma in each direction, or (sigma, sigma_phi, sigma_z) along R, phi
    and z. Its likelihood is

        L = int ds s^p N(parallax | 1/s) N(mu_l, mu_b, v_lsr | model(s), errors + scatter),

    on a few distances per source that are fixed once, so that ln L is smooth. s^p is the distribution of
    sources along the line of sight (the survey's selection is not modelled). v_lsr is compared in the LSR of
    the table: the heliocentric prediction plus the solar motion that the observers added.

    With `outlier_fraction` (0 to 1), that share of the sources has the wider scatter outlier_sigma in every
    direction instead, so that a few in supernova bubbles or near the bar do not decide the fit.

    Table: l, b (rad), parallax (mas), mu_l, mu_b with covariance entries mu_ll, mu_bb, mu_lb ((mas/yr)^2),
    v_lsr and v_lsr_error (km/s), each (n,); s (kpc) and log_w, (n, nodes), of `parallax_nodes`; solar_motion,
    (3,).

    >>> Masers(sigma=10.0).sigma_z is None
    True
    """

    axes: ClassVar = ("l [deg]", "v_lsr [km/s]")

    U_s: Float[Array, ""] = param(constraints.real, "km/s", "mean motion towards the centre", default=0.0)
    V_s: Float[Array, ""] = param(constraints.real, "km/s", "mean motion beyond v_c", default=0.0)
    sigma: Float[Array, ""] = param(constraints.positive, "km/s", "scatter of each velocity", default=8.0)
    sigma_phi: Float[Array, ""] | None = param(
        constraints.positive, "km/s", "scatter along rotation, if another", optional=True, default=None
    )
    sigma_z: Float[Array, ""] | None = param(
        constraints.positive, "km/s", "vertical scatter, if another", optional=True, default=None
    )
    outlier_fraction: Float[Array, ""] | None = param(
        constraints.unit_interval, "", "share of sources with the wider scatter", optional=True, default=None
    )
    outlier_sigma: Float[Array, ""] = param(constraints.positive, "km/s", "the wider scatter", default=50.0)

    def radii(self, sun, table):
        """Of every node of every source."""
        x = self._positions(sun, table)
        return jnp.hypot(x[..., 0], x[..., 1]).ravel()

    def log_likelihood(self, view, table):
        """ln L, up to a constant (the distribution of distances has no norm)."""
        return jnp.sum(jax.nn.logsumexp(self._log_terms(view, table), axis=1))

    def predict(self, view, table):
        """v_lsr at the distances that the source's own likelihood prefers, with its spread over them."""
        weight = jax.nn.softmax(self._log_terms(view, table), axis=1)
        moments = self._moments(view, table)
        shift = moments.residual[..., 2]
        mean = jnp.sum(weight * shift, axis=1)
        spread = jnp.sum(weight * (shift - mean[:, None]) ** 2, axis=1)
        own = jnp.sum(weight * (moments.motions + moments.errors)[..., 2, 2], axis=1)
        error = jnp.sqrt(own + spread)
        l = jnp.degrees(jnp.arctan2(jnp.sin(table["l"]), jnp.cos(table["l"])))
        return Prediction(l, table["v_lsr"], table["v_lsr"] - mean, error, error)

    def _positions(self, sun, table):
        at = jax.vmap(jax.vmap(lambda l, b, s: position(sun, l, b, s), (None, None, 0)))
        return at(table["l"], table["b"], table["s"])

    def _moments(self, view, table) -> _Moments:
        """Residuals and covariances at every node, leading axes (n, nodes)."""
        source = {k: table[k] for k in ("l", "b", "mu_l", "mu_b", "mu_ll", "mu_bb", "mu_lb")}
        source |= {k: table[k] for k in ("v_lsr", "v_lsr_error")}
        v_c = view.v_c.reshape(table["s"].shape)
        one = jax.vmap(
            jax.vmap(lambda row, s, v: self._node(view, table["solar_motion"], row, s, v), (None, 0, 0))
        )
        return one(source, table["s"], v_c)

    def _node(self, view, lsr, row, s, v_c) -> _Moments:
        sun, l, b = view.sun, row["l"], row["b"]
        x = position(sun, l, b, s)
        R = jnp.hypot(x[0], x[1])
        cos_phi, sin_phi = x[0] / R, x[1] / R
        sin_l, cos_l, sin_b, cos_b = jnp.sin(l), jnp.cos(l), jnp.sin(b), jnp.cos(b)
        # Rows: directions of growing l, b and s, in heliocentric (to l = 0, to l = 90 deg, to the pole).
        sky = jnp.array(
            [
                [-sin_l, cos_l, jnp.zeros_like(l)],
                [-sin_b * cos_l, -sin_b * sin_l, cos_b],
                [cos_b * cos_l, cos_b * sin_l, sin_b],
            ]
        )
        # Columns: directions of growing R, phi and z in the same axes; x of the dynamics frame is -X.
        zero, one = jnp.zeros_like(R), jnp.ones_like(R)
        local = jnp.array([[-cos_phi, sin_phi, zero], [sin_phi, cos_phi, zero], [zero, zero, one]])
        own = jnp.stack([-self.U_s, v_c + self.V_s, zero])
        relative = sky @ (local @ own - jnp.stack([sun.U, view.v_c0 + sun.V, sun.W]))
        added = sky[2] @ lsr
        per = KAPPA * s
        measured = jnp.stack([per * row["mu_l"], per * row["mu_b"], row["v_lsr"] - added])
        scatter = [self.sigma if e is None else e for e in (self.sigma, self.sigma_phi, self.sigma_z)]
        axes = (sky @ local) * jnp.stack(scatter)
        errors = jnp.array(
            [
                [per**2 * row["mu_ll"], per**2 * row["mu_lb"], zero],
                [per**2 * row["mu_lb"], per**2 * row["mu_bb"], zero],
                [zero, zero, row["v_lsr_error"] ** 2],
            ]
        )
        return _Moments(measured - relative, axes @ axes.T, errors)

    def _log_terms(self, view, table):
        """ln of each node's share of each source's likelihood, (n, nodes)."""
        residual, motions, errors = self._moments(view, table)
        log_p = _log_gauss(residual, motions + errors)
        if self.outlier_fraction is not None:
            f = self.outlier_fraction
            wide = _log_gauss(residual, self.outlier_sigma**2 * jnp.eye(3) + errors)
            log_p = jnp.logaddexp(jnp.log1p(-f) + log_p, jnp.log(f) + wide)
        # From velocities to proper motions: d(v_l, v_b) = (kappa s)^2 d(mu_l, mu_b).
        return log_p + table["log_w"] + 2.0 * jnp.log(KAPPA * table["s"])


def _log_gauss(d, C):
    """ln N(d | 0, C) of 3-vectors, by Cramer's rule: leading axes are kept."""
    a, b, c = C[..., 0, 0], C[..., 0, 1], C[..., 0, 2]
    e, f, i = C[..., 1, 1], C[..., 1, 2], C[..., 2, 2]
    A, B, D = e * i - f * f, c * f - b * i, b * f - c * e
    E, F, H = a * i - c * c, b * c - a * f, a * e - b * b
    det = a * A + b * B + c * D
    x, y, z = d[..., 0], d[..., 1], d[..., 2]
    quadratic = A * x * x + E * y * y + H * z * z + 2.0 * (B * x * y + D * x * z + F * y * z)
    return -0.5 * (quadratic / det + jnp.log(det) + 3.0 * jnp.log(2.0 * jnp.pi))
