"""Toy posteriors with known answers."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import constraints

from oortax.inference import Posterior
from oortax.params import AbstractParametric, children, param


class Real(AbstractParametric):
    """One real parameter."""

    x: jax.Array = param(constraints.real)


class Vector(AbstractParametric):
    """Named real parameters, paths p00.x, p01.x, ..."""

    parts: dict = children()


class Bounded(AbstractParametric):
    """One parameter of each kind of support."""

    scale: jax.Array = param(constraints.positive, "kpc")
    fraction: jax.Array = param(constraints.unit_interval)
    flattening: jax.Array = param(constraints.positive)
    velocity: jax.Array = param(constraints.real, "km/s")


def vector(values):
    return Vector({f"p{i:02d}": Real(float(value)) for i, value in enumerate(values)})


def coordinates(model):
    return jnp.stack([part.x for part in model.parts.values()])


def normal_log_likelihood(model, data):
    r = coordinates(model) - data["mean"]
    return -0.5 * r @ data["precision"] @ r


def gaussian(n, condition, seed=0, narrowest=1e-3, prior_sd=3.0):
    """A rotated Gaussian likelihood times N(0, prior_sd^2) priors; also its exact mean and covariance."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(rng.normal(size=(n, n)))[0]
    sigma = np.geomspace(1.0, np.sqrt(condition), n) * narrowest
    precision = (axes / sigma**2) @ axes.T
    centre = rng.normal(size=n)
    priors = {f"p{i:02d}.x": dist.Normal(0.0, prior_sd) for i in range(n)}
    data = {"mean": jnp.asarray(centre), "precision": jnp.asarray(precision)}
    covariance = np.linalg.inv(precision + np.eye(n) / prior_sd**2)
    posterior = Posterior(vector(np.zeros(n)), priors, normal_log_likelihood, data)
    return SimpleNamespace(posterior=posterior, mean=covariance @ precision @ centre, covariance=covariance)


def disc_log_likelihood(model, data):
    """Two isothermal sheets with their own velocity dispersions, and outliers: (z, v_z, v_phi)."""
    x = coordinates(model)
    height, sigma, spread = jnp.exp(x[0:2]), jnp.exp(x[2:4]), jnp.exp(x[4:6])

    def sheet(i):
        z, w = data["z"] + x[10], data["v_z"] + x[9]
        v = data["v_phi"] + x[6 + i]
        log_p = (
            -2.0 * jnp.log(jnp.cosh(z / height[i])) - 0.5 * (w / sigma[i]) ** 2 - 0.5 * (v / spread[i]) ** 2
        )
        return log_p - jnp.log(height[i] * sigma[i] * spread[i])

    both = jnp.logaddexp(jax.nn.log_sigmoid(x[8]) + sheet(0), jax.nn.log_sigmoid(-x[8]) + sheet(1))
    outliers = 0.1 * jax.nn.sigmoid(x[11])
    return jnp.sum(jnp.logaddexp(jnp.log1p(-outliers) + both, jnp.log(outliers) - 16.0))


def disc(n_stars=1000, seed=0, offset=1.0):
    """A mock of two sheets, and a start `offset` prior widths off in every parameter."""
    rng = np.random.default_rng(seed)
    thick = np.arange(n_stars) >= 0.75 * n_stars
    z = np.where(thick, 0.9, 0.3) * np.arctanh(rng.uniform(-1, 1, n_stars))
    v_z = np.where(thick, 40.0, 18.0) * rng.normal(size=n_stars) - 7.0
    v_phi = np.where(thick, -50.0, -12.0) + np.where(thick, 45.0, 25.0) * rng.normal(size=n_stars)
    truth = np.array([*np.log([0.3, 0.9, 18.0, 40.0, 25.0, 45.0]), 12.0, 50.0, 1.1, 7.0, 0.0, -2.0])
    width = np.array([0.5] * 6 + [10.0, 20.0, 1.0, 3.0, 0.03, 1.0])
    priors = {f"p{i:02d}.x": dist.Normal(t, w) for i, (t, w) in enumerate(zip(truth, width, strict=True))}
    start = truth + offset * width * rng.choice([-1.0, 1.0], size=12)
    data = {"z": z, "v_z": v_z, "v_phi": v_phi}
    return SimpleNamespace(posterior=Posterior(vector(start), priors, disc_log_likelihood, data), truth=truth)


def flat_log_likelihood(model, data):
    return 0.0 * model.scale


def bounded_priors():
    return {
        "scale": dist.LogNormal(1.0, 0.4),
        "fraction": dist.Beta(8.0, 2.0),
        "flattening": dist.Uniform(0.4, 1.6),
        "velocity": dist.Normal(12.24, 2.0),
    }


def bounded():
    """Priors alone: the posterior is the prior, whose moments are known."""
    model = Bounded(scale=3.0, fraction=0.7, flattening=0.9, velocity=10.0)
    return Posterior(model, bounded_priors(), flat_log_likelihood, None)


@pytest.fixture(scope="session")
def toys():
    return SimpleNamespace(
        Bounded=Bounded,
        bounded=bounded,
        bounded_priors=bounded_priors,
        coordinates=coordinates,
        disc=disc,
        flat_log_likelihood=flat_log_likelihood,
        gaussian=gaussian,
        vector=vector,
    )
