"""AGAMA's Multipole and CylSpline potentials, as its `export` writes them, on our splines."""

import warnings
from collections.abc import Callable

import numpy as np
from numpy.polynomial import legendre
from scipy.interpolate import BSpline

from oortax.io.agama_text import Section
from oortax.potential import Grid, Tabulated, tabulate

# Coefficients that break the symmetry are rounding below this, relative to the monopole.
SYMMETRIC = 1e-7
# Factor by which our grid reaches beyond the file's at either end; the monopole alone goes on from there.
REACH = 10.0
# Resampling errors of the force above this are warned of.
COARSE = 1e-3
# Orders of the vacuum multipoles outside a CylSpline's rectangle, as AGAMA has them.
OUTSIDE = np.arange(0, 9, 2)


class Spline:
    """A spline through data at nodes, as a linear map from the data.

    With slopes the data are values and slopes, and the spline is a quintic with continuous third derivatives;
    without, it is an ordinary one. Not a knot next to the ends.
    """

    def __init__(self, nodes: np.ndarray, slopes: bool, degree: int = 5):
        self.degree = degree
        # Two conditions a node make the inner knots double.
        inner = np.sort(np.concatenate([nodes[1:-1], nodes[2:-2]])) if slopes else nodes[3:-3]
        if not slopes and degree == 3:
            inner = nodes[2:-2]
        ends = np.full(degree + 1, nodes[0]), np.full(degree + 1, nodes[-1])
        self.knots = np.concatenate([ends[0], inner, ends[1]])
        conditions = [self._basis(nodes)] + ([self._basis(nodes, 1)] if slopes else [])
        self.inverse = np.linalg.inv(np.concatenate(conditions))

    def _basis(self, x: np.ndarray, order: int = 0) -> np.ndarray:
        size = len(self.knots) - self.degree - 1
        return BSpline(self.knots, np.eye(size), self.degree)(x, nu=order)

    def at(self, x: np.ndarray) -> np.ndarray:
        """The matrix from the data (values, then slopes) to the spline's values at x."""
        return self._basis(x) @ self.inverse


class EvenSpline:
    """A `Spline` of an even function of a length, of which the half with x >= 0 is known.

    Its variable is asinh(x/h), with the h that spaces the nodes most evenly; slopes are those in x.
    """

    def __init__(self, nodes: np.ndarray, slopes: bool, degree: int = 5):
        scales = np.geomspace(nodes[1], nodes[-1], 60)
        uneven = [np.std(np.diff(np.arcsinh(nodes / h))) / np.arcsinh(nodes[-1] / h) for h in scales]
        self.h, self.slopes, self.n = float(scales[np.argmin(uneven)]), slopes, len(nodes)
        u = np.arcsinh(nodes / self.h)
        self.spline = Spline(np.concatenate([-u[:0:-1], u]), slopes, degree)
        self.by_u = np.hypot(nodes, self.h)

    def at(self, x: np.ndarray) -> np.ndarray:
        """The matrix from the data at the nodes (values, then slopes) to values at x >= 0."""
        full = self.spline.at(np.arcsinh(x / self.h))
        m = 2 * self.n - 1
        values = self._folded(full[:, :m], 1.0)
        if not self.slopes:
            return values
        return np.concatenate([values, self._folded(full[:, m:], -1.0) * self.by_u], axis=1)

    def _folded(self, columns: np.ndarray, parity: float) -> np.ndarray:
        folded = columns[:, self.n - 1 :].copy()
        folded[:, 1:] += parity * columns[:, self.n - 2 :: -1]
        return folded


def read_table(section: Section, length: float, velocity: float, symmetrise: bool) -> Tabulated:
    """The potential of a section with coefficients; units of the file in kpc and km/s."""
    assert section.coefficients is not None
    if section.type == "Multipole":
        Phi, grid, trusted = _multipole(section, length, velocity, symmetrise)
    else:
        Phi, grid, trusted = _cyl_spline(section, length, velocity, symmetrise)
    found = tabulate(Phi, grid, trusted)
    if not found.error < COARSE:
        warnings.warn(
            f"{section.label}: r dPhi/dr of the {section.type} changes by up to {found.error:.1e} on our "
            "grid; the file's own nodes are coarse or its values noisy",
            stacklevel=4,
        )
    return found


def _size(section: Section, key: str) -> int:
    value = section.number(key, np.nan)
    if not value >= 0.0 or value != int(value):
        raise ValueError(f"{section.label}: {section.type} needs {key} = a whole number before Coefficients")
    return int(value)


def _numbers(section: Section, line: str, count: int) -> np.ndarray:
    fields = line.split()
    try:
        values = np.array([float(field) for field in fields])
    except ValueError:
        values = np.array([])
    if len(values) != count:
        raise ValueError(
            f"{section.label}: expected {count} numbers in a row of coefficients, got {line[:60]!r}"
        )
    return values


def _multipole(section: Section, length: float, velocity: float, symmetrise: bool):
    n, l_max = _size(section, "gridSizeR"), _size(section, "lmax")
    if n < 4:
        raise ValueError(f"{section.label}: gridSizeR = {n} must be at least 4")
    terms = (l_max + 1) ** 2
    blocks = {}
    lines = section.coefficients or []
    for title in ("#Phi", "#dPhi/dr"):
        if title not in lines or len(lines) < lines.index(title) + 2 + n:
            raise ValueError(f"{section.label}: no complete block {title} of {n} radii in its coefficients")
        start = lines.index(title) + 2
        blocks[title] = np.array([_numbers(section, line, terms + 1) for line in lines[start : start + n]])
    r = blocks["#Phi"][:, 0] * length
    if np.any(np.diff(r) <= 0.0) or r[0] <= 0.0:
        raise ValueError(f"{section.label}: its radii must be positive and increase")
    Phi = blocks["#Phi"][:, 1:] * velocity**2
    slope = blocks["#dPhi/dr"][:, 1:] * (velocity**2 / length) * r[:, None]
    orders = np.arange(0, l_max + 1, 2)
    # Row index of the term (l, m) is l (l + 1) + m.
    kept = orders * (orders + 1)
    other = np.setdiff1d(np.arange(terms), kept)
    if other.size:
        broken = float(np.max(np.abs(Phi[:, other]) / np.abs(Phi[:, :1])))
        _check_symmetry(section, broken, symmetrise)
    radial = _Radial(np.log(r), Phi[:, kept], slope[:, kept], orders)
    norms = np.sqrt(2.0 * orders + 1.0)

    def potential(r: np.ndarray, mu: np.ndarray) -> np.ndarray:
        flat = np.log(np.ravel(r))
        distinct, where = np.unique(flat, return_inverse=True)
        coefficients = np.zeros((len(distinct), l_max + 1))
        coefficients[:, orders] = radial(distinct) * norms
        angular = legendre.legvander(np.ravel(mu), l_max)
        return np.sum(coefficients[where] * angular, axis=1).reshape(np.shape(r))

    step = min(0.2, float(np.min(np.diff(np.log(r)))) / 2.0)
    grid = _grid(r[0] / REACH, r[-1] * REACH, step, 6 if l_max == 0 else 48)
    return potential, grid, (r[0], r[-1])


def _grid(r_min: float, r_max: float, step: float, n_theta: int) -> Grid:
    # Inside r_min angular structure would not fade, so that it is kept small.
    r_min = min(r_min, Grid().r_min)
    n_r = int(np.clip(np.ceil(np.log(r_max / r_min) / step) + 1, 32, 600))
    return Grid(n_r, n_theta, float(r_min), float(r_max), 5)


def _check_symmetry(section: Section, broken: float, symmetrise: bool) -> None:
    if broken > SYMMETRIC and not symmetrise:
        raise ValueError(
            f"{section.label}: it is not axisymmetric and even in z: coefficients of other symmetries reach "
            f"{broken:.1e} of the monopole; from_agama(..., symmetrise=True) leaves them out"
        )


class _Radial:
    """Multipole coefficients as functions of ln r: scaled splines, and power laws beyond their nodes.

    The monopole is splined as ln[1/Phi(0) - 1/Phi_0] and the others as Phi_l/Phi_0, which AGAMA's manual
    gives as its own choice. Beyond the nodes Phi_l = U r^s + W r^v, v = l within and -1 - l outside.
    """

    def __init__(self, log_r: np.ndarray, Phi: np.ndarray, slope: np.ndarray, orders: np.ndarray):
        self.log_r, self.orders = log_r, orders
        inner = [_Power.through(log_r[[0, 1]], Phi[[0, 1], k], slope[[0, 1], k], l) for k, l in _each(orders)]
        outer = [
            _Power.through(log_r[[-1, -2]], Phi[[-1, -2], k], slope[[-1, -2], k], -1.0 - l)
            for k, l in _each(orders)
        ]
        self.inner, self.outer = inner, outer
        centre = inner[0].constant if inner[0].s > 0.0 else -np.inf
        P, D = Phi[:, 0], slope[:, 0]
        rise = 1.0 / centre - 1.0 / P
        self.scaled = bool(np.all(P < 0.0) and np.all(rise > 0.0))
        self.offset = 1.0 / centre
        values, slopes = Phi.copy(), slope.copy()
        if self.scaled:
            values[:, 0], slopes[:, 0] = np.log(rise), D / P**2 / rise
            values[:, 1:] = Phi[:, 1:] / P[:, None]
            slopes[:, 1:] = (slope[:, 1:] - values[:, 1:] * D[:, None]) / P[:, None]
        self.spline = Spline(log_r, True)
        self.data = np.concatenate([values, slopes])

    def __call__(self, log_r: np.ndarray) -> np.ndarray:
        """All coefficients, shape (n, orders)."""
        found = self.spline.at(np.clip(log_r, self.log_r[0], self.log_r[-1])) @ self.data
        if self.scaled:
            found[:, 0] = 1.0 / (self.offset - np.exp(found[:, 0]))
            found[:, 1:] *= found[:, :1]
        for beyond, laws in ((log_r < self.log_r[0], self.inner), (log_r > self.log_r[-1], self.outer)):
            for k, law in enumerate(laws):
                found[beyond, k] = law(log_r[beyond])
        return found


def _each(orders: np.ndarray):
    return enumerate(float(l) for l in orders)


class _Power:
    """U exp[s (x - x_0)] + W exp[v (x - x_0)] through the value and slope at x_0."""

    def __init__(self, x_0: float, U: float, s: float, W: float, v: float):
        self.x_0, self.U, self.s, self.constant, self.v = x_0, U, s, W, v

    @classmethod
    def through(cls, x, Phi, slope, v: float) -> "_Power":
        # s from what the harmonic part leaves of the slopes at two nodes, the first at the grid's end.
        rest = slope - v * Phi
        s = np.log(rest[1] / rest[0]) / (x[1] - x[0]) if rest[0] * rest[1] > 0.0 else np.nan
        inward = v >= 0.0
        # A density whose force and mass are finite there; else the harmonic part alone.
        if not np.isfinite(s) or abs(s - v) < 1e-3 or (inward and s < -0.99) or (not inward and s > 0.0):
            return cls(x[0], 0.0, v + 2.0, Phi[0], v)
        U = rest[0] / (s - v)
        return cls(x[0], U, s, Phi[0] - U, v)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return self.U * np.exp(self.s * (x - self.x_0)) + self.constant * np.exp(self.v * (x - self.x_0))


def _cyl_spline(section: Section, length: float, velocity: float, symmetrise: bool):
    R, z, blocks, others = _azimuthal(section)
    if others:
        _check_symmetry(section, max(others) / float(np.min(np.abs(blocks["#Phi"]))), symmetrise)
    R, z = R * length, z * length
    Phi = blocks["#Phi"] * velocity**2
    has_slopes = "#dPhi/dR" in blocks and "#dPhi/dz" in blocks
    by_R = blocks["#dPhi/dR"] * velocity**2 / length if has_slopes else None
    by_z = blocks["#dPhi/dz"] * velocity**2 / length if has_slopes else None
    if z[0] < 0.0:
        half = len(z) // 2
        if len(z) % 2 == 0 or not np.allclose(z, -z[::-1], rtol=1e-10, atol=0.0):
            raise ValueError(f"{section.label}: its heights from {z[0]:g} to {z[-1]:g} are not symmetric")
        odd = float(np.max(np.abs(Phi - Phi[:, ::-1]) / np.abs(Phi)))
        _check_symmetry(section, odd, symmetrise)
        z = z[half:]
        Phi = 0.5 * (Phi + Phi[:, ::-1])[:, half:]
        if by_R is not None and by_z is not None:
            by_R, by_z = 0.5 * (by_R + by_R[:, ::-1])[:, half:], 0.5 * (by_z - by_z[:, ::-1])[:, half:]
    if R[0] != 0.0 or z[0] != 0.0 or len(R) < 5 or len(z) < 5:
        raise ValueError(
            f"{section.label}: its grid must start at R = 0, z = 0 and have at least 5 nodes each"
        )
    if not np.all(Phi < 0.0):
        raise ValueError(f"{section.label}: Phi must be negative everywhere")
    return _on_rectangle(R, z, Phi, by_R, by_z)


def _azimuthal(section: Section) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], list[float]]:
    """Radii, heights, the m = 0 tables by title, and the largest Phi of each other m."""
    n_R, n_z = _size(section, "gridSizeR"), _size(section, "gridSizez")
    lines = section.coefficients or []
    R = z = None
    blocks: dict[str, np.ndarray] = {}
    others: list[float] = []
    title, at = "", 0
    while at < len(lines):
        fields = lines[at].split()
        if lines[at].startswith("#"):
            title, at = lines[at], at + 1
        elif len(fields) == 2 and fields[1] == "#m":
            rows = lines[at + 1 : at + 2 + n_R]
            if len(rows) < n_R + 1 or len(rows[0].split()) != n_z + 1:
                raise ValueError(f"{section.label}: incomplete table of {title} for m = {fields[0]}")
            table = np.array([_numbers(section, row, n_z + 1) for row in rows[1:]])
            if int(fields[0]) == 0:
                z = _numbers(section, " ".join(rows[0].split()[1:]), n_z)
                R, blocks[title] = table[:, 0], table[:, 1:]
            elif title == "#Phi":
                others.append(float(np.max(np.abs(table[:, 1:]))))
            at += n_R + 2
        else:
            at += 1
    if R is None or z is None or "#Phi" not in blocks:
        raise ValueError(f"{section.label}: no table of Phi for m = 0 in its coefficients")
    if np.any(np.diff(R) <= 0.0) or np.any(np.diff(z) <= 0.0):
        raise ValueError(f"{section.label}: its radii and heights must increase")
    return R, z, blocks, others


def _on_rectangle(R, z, Phi, by_R, by_z) -> tuple[Callable, Grid, tuple[float, float]]:
    """Phi on the rectangle by splines of ln(-Phi), quintic if slopes are given; multipoles outside."""
    smooth = by_R is not None
    degree = 5 if smooth else 3
    along_R, along_z = EvenSpline(R, smooth, degree), EvenSpline(z, smooth, degree)
    across = EvenSpline(R, False, degree)
    data = np.log(-Phi)
    data_R = np.concatenate([data, by_R / Phi]) if smooth else data
    slopes = by_z / Phi if smooth else None
    r_edge = np.concatenate([np.hypot(R, z[-1]), np.hypot(R[-1], z)])
    mu_edge = np.concatenate([z[-1] / np.hypot(R, z[-1]), z / np.hypot(R[-1], z)])
    Phi_edge = np.concatenate([Phi[:, -1], Phi[-1]])

    def outside(r, mu):
        # Scaled by the least radius, so that no column of the fit vanishes.
        return legendre.legvander(mu, OUTSIDE[-1])[..., OUTSIDE] * (r_edge.min() / r)[..., None] ** (
            OUTSIDE + 1
        )

    # Relative residuals count.
    design = outside(r_edge, mu_edge) / Phi_edge[:, None]
    multipoles = np.linalg.lstsq(design, np.ones(len(Phi_edge)), rcond=None)[0]

    def potential(r: np.ndarray, mu: np.ndarray) -> np.ndarray:
        r, mu = np.broadcast_arrays(r, mu)
        shape, r, mu = r.shape, r.ravel(), mu.ravel()
        at_R, at_z = r * np.sqrt(1.0 - mu**2), r * mu
        found = outside(r, mu) @ multipoles
        inside = (at_R <= R[-1]) & (at_z <= z[-1])
        values = along_R.at(at_R[inside]) @ data_R
        if slopes is not None:
            values = np.concatenate([values, across.at(at_R[inside]) @ slopes], axis=1)
        found[inside] = -np.exp(np.sum(along_z.at(at_z[inside]) * values, axis=1))
        return found.reshape(shape)

    # Fine, so that the kink at the rectangle's edge is felt near it only.
    grid = _grid(min(R[1], z[1]) / REACH, REACH * np.hypot(R[-1], z[-1]), 0.05, 48)
    return potential, grid, (min(R[1], z[1]), 0.5 * min(R[-1], z[-1]))
