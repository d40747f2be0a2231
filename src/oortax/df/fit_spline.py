"""f(J) from the velocities of stars in a given potential: a convex fit of the splines' coefficients."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import linalg

from oortax.df.local_actions import LocalActions
from oortax.df.smoothness import SmoothnessPrior, eigen, penalty
from oortax.df.spline_df import DEGREE, SplineDF
from oortax.numerics.bspline import offsets, pieces
from oortax.params import replace

# Newton: the gain in ln p that still counts; the steps. Strengths: change of their logs, rounds, bounds.
_GAIN, _NEWTON_STEPS = 1e-6, 60
_CHANGE, _ROUNDS, _LEAST, _MOST = 0.1, 40, 1e-4, 1e6
_LARGEST_EXPONENT = 300.0
_GEMM, _GEMV = linalg.get_blas_funcs(("gemm", "gemv"), dtype=np.float64)


class LocalMoments(NamedTuple):
    """What a fit says of k regions, or the stars do: numbers, and means and dispersions of (v_R, v_phi, v_z).

    Attributes
    ----------
    number : (k,), stars in each region
    mean, dispersion : (k, 3), km/s
    number_error, mean_error, dispersion_error : standard errors of these: of the coefficients', or of the
        finite numbers of stars
    """

    number: Float[np.ndarray, " k"]
    mean: Float[np.ndarray, "k 3"]
    dispersion: Float[np.ndarray, "k 3"]
    number_error: Float[np.ndarray, " k"]
    mean_error: Float[np.ndarray, "k 3"]
    dispersion_error: Float[np.ndarray, "k 3"]


class SplineFit(NamedTuple):
    """The most probable coefficients of a `SplineDF`, and the Gaussian approximation about them.

    Attributes
    ----------
    f : the distribution function of these coefficients, in stars per (kpc km/s)^3
    covariance : (P, P), of the flat coefficients
    prior : with the strengths that were used
    log_likelihood : sum_i ln f(J_i) - (number of stars that f puts in the regions)
    log_evidence : ln of the marginal likelihood of the strengths and the potential, by Laplace's method
    n_effective : how many coefficients the data determine: P less the trace of covariance times prior
        precision
    newton_steps, rounds : in all; of the strengths
    """

    f: SplineDF
    covariance: Float[np.ndarray, "P P"]
    prior: SmoothnessPrior
    log_likelihood: float
    log_evidence: float
    n_effective: float
    newton_steps: int
    rounds: int

    def log_f(self, J: Float[Array, "n 3"]) -> tuple[np.ndarray, np.ndarray]:
        """ln f at actions, and its standard deviation, both (n,)."""
        design = _Design(self.f, J)
        rows = np.zeros((len(design.index), len(self.covariance)))
        np.put_along_axis(rows, design.index, design.basis, axis=1)
        variance = np.einsum("np,np->n", rows @ self.covariance, rows)
        return design.offset + design.dot(_flat(self.f)), np.sqrt(np.maximum(variance, 0.0))

    def draws(self, key: Array, n: int) -> Float[np.ndarray, "n P"]:
        """n draws of the flat coefficients."""
        factor = linalg.cholesky(self.covariance, lower=True)
        return _flat(self.f) + np.asarray(jax.random.normal(key, (n, len(factor)))) @ factor.T

    def predict(self, data: LocalActions, key: Array, *, n: int = 100) -> LocalMoments:
        """Moments of f in the regions of `data`, with errors from n draws of the coefficients.

        The regions need not be those of the fit: what f that was found in one region says of another.
        """
        design = _Design(self.f, data.node_J)
        exponents = [np.log(data.weights) + design.offset + design.dot(_flat(self.f))]
        for c in self.draws(key, n):
            exponents.append(np.log(data.weights) + design.offset + design.dot(c))
        found = [_moments(np.exp(each), data) for each in exponents]
        errors = [np.std([each[i] for each in found[1:]], axis=0) for i in range(3)]
        return LocalMoments(*found[0], *errors)


def observed_moments(data: LocalActions) -> LocalMoments:
    """Numbers, means and dispersions of the stars themselves, with errors of finite numbers.

    Those of dispersions are by fourth moments, those of numbers Poisson's.
    """
    number, mean, dispersion, errors = [], [], [], []
    for k in range(int(data.which.max()) + 1):
        v = data.v[data.which == k]
        # About 0 for v_R and v_z, as in the model.
        centre = np.array([0.0, v[:, 1].mean(), 0.0])
        square = (v - centre) ** 2
        sigma = np.sqrt(square.mean(axis=0))
        number.append(float(len(v)))
        mean.append(centre)
        dispersion.append(sigma)
        of_sigma = np.std(square, axis=0) / (2.0 * sigma * np.sqrt(len(v)))
        errors.append((sigma / np.sqrt(len(v)) * [0.0, 1.0, 0.0], of_sigma))
    mean_error, dispersion_error = (np.array(each) for each in zip(*errors, strict=True))
    return LocalMoments(
        np.array(number), np.array(mean), np.array(dispersion), np.sqrt(number), mean_error, dispersion_error
    )


def fit_spline(
    f: SplineDF,
    data: LocalActions,
    *,
    strengths: Float[Array, "3"] | None = None,
    order: int = 2,
    width: float = 30.0,
) -> SplineFit:
    r"""The splines that make the stars' actions most probable, given that smooth f are more probable.

    With weights w_q of nodes J_q in phase space (`local_actions`), the Poisson likelihood

        ln L = sum_i ln f(J_i) - sum_q w_q f(J_q)

    and a `SmoothnessPrior` make -ln p convex in the coefficients, as ln f is linear in them: Newton's method
    finds the one maximum. At it the model's number of stars is N, so that L is that of the velocities and of
    the shares of the regions.

    Parameters
    ----------
    f : a `SplineDF`, whose coefficients only give the shape and the start; bound, if its baseline needs that
    data : of one potential
    strengths : (3,), of the prior along (t, x, y); None for those of largest marginal likelihood, by the
        fixed point of Wood & Fasiolo (2017, Biometrics 73, 1071)
    order : of the differences that the prior keeps small
    width : scatter that the prior allows ln f as a whole

    Notes
    -----
    The covariance is that of the Gaussian approximation at the maximum for given strengths. Where there are
    no stars the likelihood only bounds f from above, and ln f and its error are the prior's, which takes
    straight lines in (t, x, y) for granted. Where stars are many and f bends most, smoothing adds to the
    errors: for 2e4 stars of a disc and a halo near the Sun the pulls of ln f have an rms of 1.2 (one
    catalogue: tests/df/test_fit_spline.py). The quadrature's error is that of the nodes: compare `seed`s.

    Raises ValueError for strengths that are not positive, and where Newton's method does not settle.

    >>> from oortax import df, dynamics, potential
    >>> pot = potential.Isochrone(M=1e11, b=3.0)
    >>> f, finder = df.IsochroneSphere(M=1e11, b=3.0), dynamics.IsochroneFinder(pot)
    >>> region = df.Region(R=(3.0, 4.0), z=(0.0, 1.0))
    >>> stars = df.draw_in_region(f, pot, finder, region, jax.random.key(1), 2000, progress=False)
    >>> data = df.local_actions(pot, finder, [df.LocalStars(region, stars.x, stars.v)], n_nodes=4096)
    >>> fit = fit_spline(SplineDF.blank((6, 5, 6), J_0=300.0, J_max=3000.0), data, strengths=(1.0, 1.0, 1.0))
    >>> log_f, sigma = fit.log_f(data.J[:500])
    >>> off = log_f - np.asarray(jax.vmap(f.log_f)(jnp.asarray(data.J[:500]))) - np.log(2000 / stars.mass)
    >>> bool(np.median(sigma) < 0.2), bool(np.sqrt(np.mean((off / sigma) ** 2)) < 1.6)
    (True, True)
    """
    if not isinstance(f, SplineDF):
        raise ValueError(f"fit_spline: f is a {type(f).__name__}, a SplineDF is needed")
    chosen = strengths is None
    strength = np.ones(3) if chosen else np.broadcast_to(np.asarray(strengths, float), (3,)).copy()
    if not (np.all(np.isfinite(strength)) and np.all(strength > 0.0)):
        raise ValueError(f"fit_spline(strengths={strengths}): positive numbers are needed, one per axis")
    problem = _Problem(f, data, order, width)
    c, steps = problem.start.copy(), 0
    for rounds in range(1, _ROUNDS + 1):  # noqa: B007
        c, taken = problem.newton(c, strength)
        steps += taken
        if not chosen:
            break
        new = problem.stronger(c, strength)
        change = np.max(np.abs(np.log(new / strength)))
        if change < _CHANGE:
            break
        strength = new
    return problem.result(c, strength, steps, rounds)


class _Design:
    """Values of the 64 splines that do not vanish at each of n actions, and which those are."""

    def __init__(self, f: SplineDF, J):
        where, offset = (np.asarray(a) for a in _coordinates(f, jnp.asarray(J)))
        self.offset, self.size = offset, f.coefficients.size
        shape, along, start = f.coefficients.shape, [], np.zeros(len(where), int)
        for axis, n in enumerate(shape):
            u = where[:, axis] * (n - DEGREE)
            i = np.clip(np.floor(u), 0, n - DEGREE - 1).astype(int)
            along.append(np.vander(u - i, DEGREE + 1, increasing=True) @ pieces(DEGREE).T)
            start = start * n + i
        self.basis = np.einsum("na,nb,nc->nabc", *along).reshape(len(where), -1)
        self.steps = offsets(shape, DEGREE).ravel()
        self.start = start
        self.index = start[:, None] + self.steps

    def dot(self, c) -> np.ndarray:
        """ln f less its offset, (n,)."""
        return np.einsum("nk,nk->n", self.basis, c[self.index])

    def sums(self, weights) -> np.ndarray:
        """The sum of weighted splines, (P,)."""
        return np.bincount(self.index.ravel(), (weights[:, None] * self.basis).ravel(), self.size)

    def products(self, weights) -> np.ndarray:
        """The sum of weighted products of two splines, (P, P); rows must be sorted by `start`."""
        total = np.zeros((self.size, self.size))
        first = np.flatnonzero(np.diff(self.start, prepend=-1))
        for low, high in zip(first, [*first[1:], len(self.start)], strict=True):
            # Many small products: by the same library as the factors, and so by as many threads.
            basis = (np.sqrt(weights[low:high, None]) * self.basis[low:high]).T
            at = self.start[low] + self.steps
            total[np.ix_(at, at)] += _GEMM(1.0, basis, basis, trans_b=True)
        return total


class _Problem:
    """ln p of the flat coefficients c, its maximum for given strengths, and better strengths."""

    def __init__(self, f: SplineDF, data: LocalActions, order: int, width: float):
        stars = _Design(f, data.J)
        by_cell = np.argsort(_Design(f, data.node_J).start, kind="stable")
        self.f, self.nodes = f, _Design(f, data.node_J[by_cell])
        self.log_weights = np.log(data.weights[by_cell]) + self.nodes.offset
        self.sums, self.offset = stars.sums(np.ones(len(data.J))), float(np.sum(stars.offset))
        self.shape, self.order, self.width = f.coefficients.shape, order, width
        self.penalties = [penalty(self.shape, axis, order) for axis in range(3)]
        # A level that has the number of stars.
        level = np.log(len(data.J)) - np.logaddexp.reduce(self.log_weights)
        self.centre = np.full(stars.size, level)
        given = _flat(f)
        self.start = given if np.any(given != 0.0) else self.centre
        self.factor, self.value = (np.eye(1), True), -np.inf

    def prior(self, strength) -> SmoothnessPrior:
        return SmoothnessPrior(
            self.shape, strength, order=self.order, centre=float(self.centre[0]), width=self.width
        )

    def precision(self, strength) -> np.ndarray:
        total = sum(s * part for s, part in zip(strength, self.penalties, strict=True))
        return total + np.eye(len(self.centre)) / self.width**2

    def log_p(self, c, precision) -> tuple[float, np.ndarray]:
        """ln L + ln prior without its constant, and the numbers of stars at the nodes."""
        exponent = self.log_weights + self.nodes.dot(c)
        if np.max(exponent) > _LARGEST_EXPONENT:
            return -np.inf, exponent
        numbers, off = np.exp(exponent), c - self.centre
        return float(
            self.offset + self.sums @ c - np.sum(numbers) - 0.5 * off @ _times(precision, off)
        ), numbers

    def newton(self, c, strength) -> tuple[np.ndarray, int]:
        precision = self.precision(strength)
        value, numbers = self.log_p(c, precision)
        for step in range(_NEWTON_STEPS):
            gradient = self.sums - self.nodes.sums(numbers) - _times(precision, c - self.centre)
            self.factor = linalg.cho_factor(self.nodes.products(numbers) + precision, lower=True)
            change = linalg.cho_solve(self.factor, gradient)
            gain, size = float(gradient @ change), 1.0
            if gain < _GAIN:
                self.value = value
                return c, step
            while True:
                new, numbers = self.log_p(c + size * change, precision)
                if new >= value + 1e-4 * size * gain or size < 1e-6:
                    break
                size *= 0.5
            c, value = c + size * change, new
        raise ValueError(f"fit_spline: ln p still rises after {_NEWTON_STEPS} steps; are the weights finite?")

    def stronger(self, c, strength) -> np.ndarray:
        """Strengths nearer to those of largest marginal likelihood."""
        covariance = linalg.cho_solve(self.factor, np.eye(len(c)))
        eigenvalues = np.asarray(self.prior(strength).eigenvalues())
        new = []
        for axis in range(3):
            along = np.moveaxis(eigenvalues, axis, 0)
            mu = eigen(self.shape[axis], self.order)[0]
            of_prior = float(np.sum(mu[:, None] / along.reshape(len(mu), -1)))
            part = self.penalties[axis]
            of_posterior = float(np.sum(part * covariance))
            rough = float(c @ _times(part, c))
            ratio = max(of_prior - of_posterior, 1e-10) / max(rough, 1e-300)
            new.append(strength[axis] * np.clip(ratio, 1e-2, 1e2))
        return np.clip(new, _LEAST, _MOST)

    def result(self, c, strength, steps, rounds) -> SplineFit:
        prior, precision = self.prior(strength), self.precision(strength)
        covariance = linalg.cho_solve(self.factor, np.eye(len(c)))
        covariance = 0.5 * (covariance + covariance.T)
        off = c - self.centre
        log_likelihood = self.value + 0.5 * float(off @ _times(precision, off))
        log_det = 2.0 * float(np.sum(np.log(np.diag(self.factor[0]))))
        log_det_prior = float(jnp.sum(jnp.log(prior.eigenvalues())))
        return SplineFit(
            f=replace(self.f, {"coefficients": c.reshape(self.shape)}),
            covariance=covariance,
            prior=prior,
            log_likelihood=log_likelihood,
            log_evidence=self.value + 0.5 * (log_det_prior - log_det),
            n_effective=len(c) - float(np.sum(covariance * precision)),
            newton_steps=steps,
            rounds=rounds,
        )


def _times(symmetric: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return _GEMV(1.0, symmetric.T, vector)


def _flat(f: SplineDF) -> np.ndarray:
    return np.asarray(f.coefficients, float).ravel()


@jax.jit
def _coordinates(f: SplineDF, J):
    return jax.vmap(f.coordinates)(J), jax.vmap(f.log_offset)(J)


def _moments(numbers, data: LocalActions):
    """Numbers, means and dispersions by region; v_R and v_z are folded at the nodes, and have no mean."""
    k = int(data.node_which.max()) + 1
    total = np.bincount(data.node_which, numbers, k)
    mean = np.zeros((k, 3))
    mean[:, 1] = np.bincount(data.node_which, numbers * data.node_v[:, 1], k) / total
    off = (data.node_v - mean[data.node_which]) ** 2
    square = np.stack(
        [np.bincount(data.node_which, numbers * off[:, i], k) / total for i in range(3)], axis=1
    )
    return total, mean, np.sqrt(square)
