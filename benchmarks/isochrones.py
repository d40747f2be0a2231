"""Make the package's table of isochrones, and measure how well it interpolates.

    python benchmarks/isochrones.py build PARSEC.parquet BASTI.parquet DWARFS.csv
    python benchmarks/isochrones.py measure PARSEC.parquet BASTI.parquet DWARFS.csv

`build` writes src/oortax/data/isochrones_parsec.npz (sources and cuts: src/oortax/data/PROVENANCE.md). Every
isochrone is resampled at the same equivalent evolutionary points, so that tables of different age and
metallicity can be averaged point by point. `measure` leaves every other age, or one metallicity after the
other, out of the table and prints how far what is predicted from the neighbours is from what was left out.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from scipy.interpolate import PchipInterpolator

OUT = Path(__file__).parents[1] / "src" / "oortax" / "data" / "isochrones_parsec.npz"
TABLES = ("V", "B-V", "G", "BP-RP", "G-RP")
# Cells of the five stretches between the primary points: main sequence, subgiants, red giants, core helium
# burning, early asymptotic giants.
CELLS = (64, 26, 40, 26, 16)
LOWEST = 0.1
SOLAR_M_BOL = 4.75


def read_parsec(file):
    """{([M/H], log age): columns} with mislabelled last points left out."""
    table = pq.read_table(file).to_pydict()
    columns = {name: np.asarray(values, dtype=float) for name, values in table.items()}
    isochrones = {}
    key = np.stack([columns["mh"].round(4), columns["log_age"].round(3)], axis=1)
    pairs, first, count = np.unique(key, axis=0, return_index=True, return_counts=True)
    for pair, start, n in zip(pairs, first, count, strict=True):
        rows = {name: values[start : start + n] for name, values in columns.items()}
        assert np.all(rows["mh"].round(4) == pair[0]) and np.all(rows["log_age"].round(3) == pair[1])
        keep = np.maximum.accumulate(rows["phase"]) == rows["phase"]
        rows = {name: values[keep] for name, values in rows.items()}
        phase, log_l = rows["phase"], rows["log_l"]
        if np.count_nonzero(phase == 4) < 3:
            # One isochrone labels its asymptotic giants as helium burners: they begin where L last falls.
            falling = np.flatnonzero((np.diff(log_l) < 0) & (phase[1:] == 3))
            phase[falling[-1] + 1 :] = 4
        isochrones[tuple(pair.tolist())] = rows
    return isochrones


def read_dwarfs(file):
    """log Teff (increasing), BC_V, B-V of the dwarf sequence where both are known."""
    rows = np.genfromtxt(file, delimiter=",", names=True, dtype=None, encoding="utf-8")
    known = np.isfinite(rows["bc_v"]) & np.isfinite(rows["b_v"])
    order = np.argsort(rows["log_teff"][known])
    return tuple(rows[name][known][order] for name in ("log_teff", "bc_v", "b_v"))


def fill(rows, dwarfs):
    """BC_V and B-V of every point: where MARCS ends, the dwarfs' relation, without a step at the cool end."""
    log_teff, bc, b_v = dwarfs
    missing = rows["bc_flag"] == -1
    BC = -2.5 * rows["log_l"] + SOLAR_M_BOL - rows["m_v"]
    colour = rows["b_v"].copy()
    relation = [np.interp(rows["log_teff"], log_teff, bc), np.interp(rows["log_teff"], log_teff, b_v)]
    hot = missing & (rows["log_teff"] > 3.7)
    BC[hot], colour[hot] = relation[0][hot], relation[1][hot]
    low = missing & (rows["log_teff"] < 3.7) & (rows["phase"] == 0)
    if low.any():
        edge = np.flatnonzero(~low)[0]
        for values, reference in ((BC, relation[0]), (colour, relation[1])):
            values[low] = reference[low] + values[edge] - reference[edge]
    rest = missing & ~hot & ~low
    known = ~rest
    for values in (BC, colour):
        values[rest] = np.interp(np.flatnonzero(rest), np.flatnonzero(known), values[known])
    return SOLAR_M_BOL - 2.5 * rows["log_l"] - BC, colour


def fit_corrections(log_teff, log_g, wanted):
    """Smooth fit of quantities (n, k) in log Teff and log g: a function of both, and its residuals."""
    theta = 5040.0 / 10**log_teff
    knots = np.quantile(theta, np.linspace(0, 1, 24))
    knots = np.unique(np.concatenate([knots, np.linspace(theta.min(), theta.max(), 20)]).round(3))
    limits = (log_teff.min(), log_teff.max())

    def basis(log_teff, log_g):
        t = 5040.0 / 10 ** np.clip(log_teff, *limits)
        hats = np.stack([np.interp(t, knots, row) for row in np.eye(len(knots))], axis=1)
        g = (np.clip(log_g, -0.5, 5.5) - 3.0) / 2.0
        return np.concatenate([hats, hats * g[:, None], hats * (g**2)[:, None]], axis=1)

    A = basis(log_teff, log_g)
    # Where there are only dwarfs, or only giants, the change with gravity is that of neighbouring
    # temperatures.
    n = len(knots)
    steps = np.diff(np.eye(n), axis=0)
    ridge = np.concatenate([0.3 * np.kron([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], steps), 1e-4 * np.eye(3 * n)])
    right = np.concatenate([wanted, np.zeros((len(ridge), wanted.shape[1]))])
    coefficients = np.linalg.lstsq(np.concatenate([A, ridge]), right, rcond=None)[0]
    return lambda log_teff, log_g: basis(log_teff, log_g) @ coefficients, A @ coefficients - wanted


def gaia_corrections(file):
    """BaSTI's BC_G, BP-RP and G-RP as a function of log Teff and log g, and the fit's residuals."""
    s = {name: np.asarray(v, dtype=float) for name, v in pq.read_table(file).to_pydict().items()}
    log_g = 4.438 + np.log10(s["mass"]) - s["log_l"] + 4 * (s["log_teff"] - np.log10(5772.0))
    M_bol = SOLAR_M_BOL - 2.5 * s["log_l"]
    wanted = np.stack([M_bol - s["m_g"], s["m_bp"] - s["m_rp"], s["m_g"] - s["m_rp"]], axis=1)
    return fit_corrections(s["log_teff"], log_g, wanted)


def solar_correction(isochrones, dwarfs):
    """BC_V at the metallicity of BaSTI's table, [M/H] = -0.08, as a function of log Teff and log g."""
    mh = np.array(sorted({key[0] for key in isochrones}))
    near = mh[np.argmin(np.abs(mh + 0.08))]
    solar = [rows for key, rows in isochrones.items() if key[0] == near]
    BC = [SOLAR_M_BOL - 2.5 * rows["log_l"] - fill(rows, dwarfs)[0] for rows in solar]
    log_teff, log_g = (np.concatenate([rows[name] for rows in solar]) for name in ("log_teff", "log_g"))
    return fit_corrections(log_teff, log_g, np.concatenate(BC)[:, None])[0]


def gaia_magnitudes(rows, V, gaia, BC_V_solar):
    """M_G, BP-RP, G-RP. BC_G follows BC_V in its change with [M/H], for BaSTI's table has one metallicity."""
    log_teff, log_g = rows["log_teff"], rows["log_g"]
    M_bol = SOLAR_M_BOL - 2.5 * rows["log_l"]
    BC_G, BP_RP, G_RP = gaia(log_teff, log_g).T
    change = M_bol - V - BC_V_solar(log_teff, log_g)[:, 0]
    # From 3600 to 8000 K, where MARCS has spectra and lines matter; faded over 0.05 dex on either side.
    within = np.clip((log_teff - 3.53) / 0.05, 0, 1) * np.clip((3.93 - log_teff) / 0.05, 0, 1)
    return M_bol - BC_G - within * change, BP_RP, G_RP


def main_sequence_mass(phase, log_m_end):
    """log10 m at a phase in [0, 1] of the main sequence: fixed masses at its foot, fixed m/m_end at its end.

    Points crowd towards the end, where isochrones turn sharply.
    """
    u = phase * (2.0 - phase)
    return np.log10(LOWEST) * (1.0 - u) + log_m_end * u**3


def _fraction(values):
    """Length along a polygon, as a fraction of its whole length."""
    total = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(values, axis=0)).sum(axis=1))])
    return total / total[-1]


def pieces(rows):
    """Row ranges of the five stretches, and log m at hydrogen exhaustion.

    A stretch begins where the one before ends, but for core helium burning: its first row at the
    giants' tip, if there is one, is the tip.
    """
    phase = rows["phase"]
    starts = [int(np.flatnonzero(phase == k)[0]) for k in range(5)]
    ends = [*starts[1:], len(phase) - 1]
    stretches = [(s, e) for s, e in zip(starts, ends, strict=True)]
    tip, drop = starts[3], np.abs(np.diff(rows["log_l"][starts[3] : starts[3] + 4]))
    if drop[0] > 0.3:
        stretches[2], stretches[3] = (starts[2], tip), (tip + 1, ends[3])
    elif abs(rows["log_l"][tip] - rows["log_l"][tip - 1]) > 0.3:
        stretches[2] = (starts[2], tip - 1)
    return stretches


def resample(rows, photometry):
    """Masses (n,), and photometry (n, k), at the common evolutionary points.

    Main-sequence stars are matched by mass, with masses that grow in proportion to that of the turn-off
    near it; later ones half by the length of the curve in the Hertzsprung-Russell diagram since the primary
    point, half by initial mass. The end of a stretch is the start of the next, but for the helium flash.
    """
    m = rows["mass_initial"].copy()
    # Equal masses (rounded in the source) are spread so that the mass increases.
    m = np.maximum.accumulate(m) + 1e-9 * np.arange(len(m))
    stretches = pieces(rows)
    end = stretches[1][0]
    log_end = 0.5 * (np.log10(m[end - 1]) + np.log10(m[end]))
    log_m, foot = np.log10(m[: end + 1]), photometry[: end + 1]
    if m[0] > LOWEST:
        # Some begin at 0.12 Msun: in a straight line down to 0.1.
        slope = (foot[2] - foot[0]) / (log_m[2] - log_m[0])
        foot = np.concatenate([(foot[0] + slope * (np.log10(LOWEST) - log_m[0]))[None], foot])
        log_m = np.concatenate([[np.log10(LOWEST)], log_m])
    of_mass = PchipInterpolator(log_m, foot)
    x = main_sequence_mass(np.linspace(0.0, 1.0, CELLS[0] + 1), log_end)
    masses, out = [10**x], [of_mass(x)]
    hr = np.stack([2.5 * rows["log_l"], 10.0 * rows["log_teff"]], axis=1)
    for k, (a, b) in enumerate(stretches[1:], start=1):
        span = slice(a, b + 1)
        mm, cc, hh = m[span], photometry[span], hr[span]
        if k == 1:
            step = (log_end - np.log10(m[end - 1])) / (np.log10(m[end]) - np.log10(m[end - 1]))
            hh = np.concatenate([(hr[end - 1] + step * (hr[end] - hr[end - 1]))[None], hh])
            mm, cc = np.concatenate([[10**log_end], mm]), np.concatenate([of_mass(log_end)[None], cc])
        s = 0.5 * _fraction(hh) + 0.5 * (mm - mm[0]) / (mm[-1] - mm[0])
        t = np.linspace(0.0, 1.0, CELLS[k] + 1)
        every = PchipInterpolator(s, np.concatenate([mm[:, None], cc], axis=1))(t)
        first = 0 if k == 3 else 1
        masses.append(every[first:, 0])
        out.append(every[first:, 1:])
    return np.concatenate(masses), np.concatenate(out)


def tabulate(parsec, basti, dwarfs):
    """[M/H], log age, masses (., ., n) and photometry (., ., n, 5) of the whole grid."""
    isochrones, sequence = read_parsec(parsec), read_dwarfs(dwarfs)
    gaia, residual = gaia_corrections(basti)
    BC_V_solar = solar_correction(isochrones, sequence)
    print("BaSTI's BC_G, BP-RP, G-RP from log Teff and log g, 95 % of residuals:", end=" ")
    print(np.quantile(np.abs(residual), 0.95, axis=0).round(4))
    mh, log_age = (sorted({key[i] for key in isochrones}) for i in (0, 1))
    n = sum(CELLS) + 2
    masses, photometry = np.empty((len(mh), len(log_age), n)), np.empty((len(mh), len(log_age), n, 5))
    for i, z in enumerate(mh):
        for j, age in enumerate(log_age):
            rows = isochrones[z, age]
            V, B_V = fill(rows, sequence)
            G, BP_RP, G_RP = gaia_magnitudes(rows, V, gaia, BC_V_solar)
            masses[i, j], photometry[i, j] = resample(rows, np.stack([V, B_V, G, BP_RP, G_RP], axis=1))
    assert np.all(np.isfinite(photometry)) and np.all(np.diff(masses, axis=-1) >= -1e-12)
    return np.array(mh), np.array(log_age), masses, photometry


def quantised(values, axis):
    """Values as 16-bit integers with an offset and a step for each index of an axis."""
    others = tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    low, high = values.min(axis=others, keepdims=True), values.max(axis=others, keepdims=True)
    step = (high - low) / 65535
    return np.round((values - low) / step).astype(np.uint16), low.ravel(), step.ravel()


def build(parsec, basti, dwarfs):
    """Write the package's table."""
    mh, log_age, masses, photometry = tabulate(parsec, basti, dwarfs)
    end = CELLS[0]
    # The fourth root of mass steps: it holds steps from 1e-8 to 0.3 Msun to the same relative accuracy.
    roots = np.maximum(np.diff(masses[..., end:], axis=-1), 0.0) ** 0.25
    root, root_low, root_step = quantised(roots[..., None], -1)
    table, low, step = quantised(photometry, -1)
    np.savez_compressed(
        OUT,
        mh=mh,
        log_age=log_age,
        cells=np.array(CELLS),
        lowest=np.array(LOWEST),
        log_m_end=np.log10(masses[..., end]),
        root=root[..., 0],
        root_scale=np.array([root_low[0], root_step[0]]),
        tables=np.array(TABLES),
        photometry=np.moveaxis(table, -1, 0),
        photometry_scale=np.stack([low, step], axis=1),
    )
    print(f"{OUT}: {OUT.stat().st_size / 1e6:.2f} MB; steps {step.round(6)} mag")


def distance(points, curve):
    """Distance of points (n, 2) from a polygon (m, 2), in the plane of magnitude and colour."""
    a, step = curve[:-1], np.diff(curve, axis=0)
    t = ((points[:, None] - a) * step).sum(-1) / np.maximum((step**2).sum(-1), 1e-30)
    gap = points[:, None] - a - np.clip(t, 0, 1)[..., None] * step
    return np.sqrt((gap**2).sum(-1)).min(axis=1)


def compare(mass, seen, true_mass, true, first, later):
    """Errors (mag) of an isochrone by kind of star.

    mass (n,) and seen (n, 2), M and colour, are tested at the points true_mass (k,) and true (k, 2), of
    which the first `first` are on the main sequence; `later` are the ends of the stretches among true_mass.
    Dwarfs and the turn-off (from 0.8 of its mass) are compared at equal mass, the turn-off and later stars by
    their distance from the curve, too: at the end of the main sequence of stars with convective cores a
    thousandth of the mass is 0.1 mag.
    """
    end = CELLS[0] + 1
    giants = end + CELLS[1] + CELLS[2]
    on = np.flatnonzero((true_mass[:first] >= LOWEST) & (true_mass[:first] <= mass[end - 1]))
    off = np.abs(PchipInterpolator(np.log(mass[:end]), seen[:end])(np.log(true_mass[on])) - true[on])
    light, heavy = true_mass[on] < 0.4, true_mass[on] > 0.8 * true_mass[first - 1]
    errors = {}
    for kind, chosen in (
        ("dwarfs from 0.1 to 0.4 Msun", light),
        ("dwarfs from 0.4 Msun", ~light & ~heavy),
        ("turn-off", heavy),
    ):
        errors[f"{kind}, M"], errors[f"{kind}, colour"] = off[chosen].T
    errors["turn-off, distance"] = distance(
        true[:first][true_mass[:first] > 0.8 * true_mass[first - 1]], seen[:giants]
    )
    curves = {
        "subgiants": seen[: giants + 1],
        "red giants": seen[end - 1 : giants],
        "helium burners": seen[giants:],
    }
    for (kind, curve), (a, b) in zip(curves.items(), later, strict=True):
        errors[f"{kind}, distance"] = distance(true[a:b], curve)
    return errors


def show(title, errors, keep=lambda key: True):
    """Print median, 95 and 99 % of errors, collected by (grid point, kind)."""
    print(f"{title}\n{'':36s}   median      95 %      99 %")
    for kind in next(iter(errors.values())):
        values = np.concatenate([found[kind] for key, found in errors.items() if keep(key)])
        print(f"{kind:36s}" + "".join(f"{q:10.4f}" for q in np.quantile(values, [0.5, 0.95, 0.99])))
    print()


def measure(parsec, basti, dwarfs):
    """Print how well the table has its source's points, and predicts grid points left out of it."""
    import jax

    from oortax.stars.isochrones import BANDS, blend, read_grid

    jax.config.update("jax_enable_x64", True)
    grid, sequence = read_grid("parsec"), read_dwarfs(dwarfs)
    V, B = (grid.magnitudes[:, :, BANDS.index(band)] for band in "VB")
    table = np.stack([V, B - V], axis=2)

    def at(grid, table, age, mh):
        m, y = blend(grid, table, age, mh)
        return np.asarray(m), np.asarray(y).T

    n = sum(CELLS) + 2
    end, giants = CELLS[0] + 1, CELLS[0] + CELLS[1] + CELLS[2] + 1
    later = ((end, end + CELLS[1]), (end + CELLS[1], giants), (giants, n))
    source, by_age, twice_as_far, by_mh = {}, {}, {}, {}
    rows = read_parsec(parsec)
    for i, mh in enumerate(grid.mh):
        for j, log_age in enumerate(grid.log_age):
            age = 10 ** (log_age - 9.0)
            m, y = at(grid, table, age, mh)
            r = rows[round(float(mh), 4), round(float(log_age), 3)]
            M, colour = fill(r, sequence)
            phase = r["phase"]
            cut = [int(np.flatnonzero(phase == k)[0]) for k in (1, 2, 3)]
            ends = ((cut[0], cut[1]), (cut[1], cut[2]), (cut[2] + 1, len(phase)))
            key = float(mh), float(log_age)
            source[key] = compare(m, y, r["mass_initial"], np.stack([M, colour], axis=1), cut[0], ends)
            for wide, errors in ((1, by_age), (2, twice_as_far)):
                if not wide <= j < len(grid.log_age) - wide:
                    continue
                keep = np.abs(np.arange(len(grid.log_age)) - j) >= wide
                without = grid._replace(
                    log_age=grid.log_age[keep], log_m_end=grid.log_m_end[:, keep], root=grid.root[:, keep]
                )
                errors[key] = compare(*at(without, table[:, keep], age, mh), m, y, end, later)
            if 0 < i < len(grid.mh) - 1:
                keep = np.arange(len(grid.mh)) != i
                without = grid._replace(
                    mh=grid.mh[keep], log_m_end=grid.log_m_end[keep], root=grid.root[keep]
                )
                by_mh[key] = compare(*at(without, table[keep], age, mh), m, y, end, later)
    show("Table against the points of its source", source)
    show("One age left out (neighbours 0.1 dex apart)", by_age)
    show("Three ages left out (neighbours 0.2 dex apart)", twice_as_far)
    show("One age left out, older than 5 Gyr", by_age, lambda key: key[1] > 9.7)
    show("One age left out, 1.6 to 5 Gyr", by_age, lambda key: 9.2 < key[1] <= 9.7)
    show("One metallicity left out (neighbours 0.16 to 0.7 dex apart)", by_mh)
    show("The same, [M/H] < -0.5", by_mh, lambda key: key[0] < -0.5)
    show("The same, [M/H] > -0.5", by_mh, lambda key: key[0] > -0.5)


if __name__ == "__main__":
    if len(sys.argv) != 5 or sys.argv[1] not in ("build", "measure"):
        raise SystemExit(__doc__)
    {"build": build, "measure": measure}[sys.argv[1]](*sys.argv[2:])
