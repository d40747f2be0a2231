"""What every distribution function must do; a new kind in `df.DFS` inherits all of it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from oortax import df, dynamics, io, params, potential
from oortax.io.nodes import parse_node

POT = potential.mw_potential_2014()
ORBITS = jax.jit(dynamics.circular_orbits)(POT)

EXAMPLES = {
    "QuasiIsothermal": df.QuasiIsothermal(
        R_d=2.6, sigma_r0=120.0, R_sigma=6.5, H_d=0.3, Sigma_0=8e8, c_r=0.9, c_z=0.3
    ),
    "DoublePowerLaw": df.DoublePowerLaw(
        norm=1e10,
        J_0=500.0,
        slope_in=1.5,
        slope_out=4.3,
        steepness=1.2,
        c_r_in=1.3,
        c_z_in=0.9,
        c_r_out=1.1,
        c_z_out=0.95,
        rotation=0.3,
        J_phi0=300.0,
    ),
    "DB96Halo": df.DB96Halo(a=1.2, b=1.1, gamma=1.8, beta=3.5, A_0=500.0, rotation=-0.4, J_phi0=400.0),
    "AgedDisc": df.AgedDisc(
        R_d=2.6, sigma_r0=120.0, R_sigma=6.5, H_d=0.4, Sigma_0=8e8, c_r=0.9, c_z=0.3, tau_T=9.0, n_ages=6
    ),
    "TaperedExponential": df.TaperedExponential(
        norm=4e10,
        J_phi0=600.0,
        J_r0=40.0,
        J_z0=8.0,
        J_v0=200.0,
        J_d0=20.0,
        J_taper=50.0,
        J_trans=30.0,
        p_r=1.2,
        p_z=1.1,
    ),
    "DB96Disc": df.DB96Disc(M_d=4e10, R_d=2.8, sigma_r0=140.0, sigma_l0=75.0),
    "CoredHalo": df.CoredHalo(
        norm=1e12,
        J_0=8000.0,
        slope_in=5 / 3,
        slope_out=4.0,
        J_core=300.0,
        c_r_in=1.2,
        c_z_in=0.9,
        rotation=0.2,
        J_phi0=900.0,
        J_cut=3e5,
    ),
    "IsochroneSphere": df.IsochroneSphere(M=5e10, b=2.0, rotation=0.5, J_phi0=200.0),
    "SplineDF": df.SplineDF(
        np.random.default_rng(3).normal(0.0, 0.3, (7, 6, 9)) - np.linspace(0.0, 9.0, 7)[:, None, None],
        J_0=300.0,
        J_max=1e4,
    ),
    "HernquistSphere": df.HernquistSphere(M=5e10, a=2.0, rotation=0.5, J_phi0=200.0),
}
EXAMPLES["DoublePowerLaw with a cut-off"] = df.DoublePowerLaw(
    norm=1e10, J_0=500.0, slope_in=1.5, slope_out=2.4, rotation=0.3, J_phi0=300.0, J_cut=2e4, cut_strength=1.5
)
EXAMPLES["Mixture"] = df.Mixture(
    {"disc": EXAMPLES["QuasiIsothermal"], "halo": EXAMPLES["DB96Halo"]}, {"disc": 0.9, "halo": 0.1}
)
# Beside an ordinary point the three edges of action space; the formulae are smooth across the first two.
POINTS = {
    "ordinary": [60.0, 25.0, 1600.0],
    "retrograde": [60.0, 25.0, -300.0],
    "J_r = 0": [0.0, 25.0, 1600.0],
    "J_z = 0": [60.0, 0.0, 1600.0],
    "J_phi = 0": [60.0, 25.0, 0.0],
}
kinds = pytest.mark.parametrize("kind", list(EXAMPLES))


@jax.jit
def _log_f(f, J):
    return f.bind(ORBITS).log_f(J)


@jax.jit
def _many(f, J):
    return jax.vmap(f.log_f)(J)


def _some_actions(n=16):
    rng = np.random.default_rng(5)
    return jnp.asarray(
        np.stack([rng.exponential(60, n), rng.exponential(30, n), rng.normal(1200, 900, n)], axis=1)
    )


def _float32(tree):
    return jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if eqx.is_array(leaf) else leaf, tree)


def test_every_kind_has_an_example():
    assert set(df.DFS) <= set(EXAMPLES)
    for kind, cls in df.DFS.items():
        assert type(EXAMPLES[kind]) is cls


@kinds
def test_jit_and_vmap_agree_with_plain_calls(kind):
    f, J = EXAMPLES[kind].bind(ORBITS), _some_actions(6)
    one_by_one = np.array([f.log_f(J_k) for J_k in J])
    assert np.all(np.isfinite(one_by_one))
    # Fusion changes the last bits only.
    np.testing.assert_allclose(_many(f, J), one_by_one, rtol=1e-12)


@kinds
def test_one_trace_whatever_the_parameters(kind):
    traces = []

    @jax.jit
    def log_f(f, J):
        traces.append(1)
        return f.bind(ORBITS).log_f(J), f.bind(ORBITS).mass()

    f, J = EXAMPLES[kind], jnp.array(POINTS["ordinary"])
    first = log_f(f, J)
    changed = params.replace(f, {path: 1.01 * p.value for path, p in params.parameters(f).items()})
    second = log_f(changed, 1.01 * J)
    assert len(traces) == 1
    assert first[0] != second[0]


@kinds
def test_derivatives_in_every_parameter(kind):
    f, J = EXAMPLES[kind], jnp.array(list(POINTS.values()))
    values = {path: p.value for path, p in params.parameters(f).items()}

    @jax.jit
    def log_f(values):
        return jax.vmap(params.replace(f, values).bind(ORBITS).log_f)(J)

    gradient = jax.jit(jax.jacrev(log_f))(values)
    assert len(gradient) >= 4
    for path, value in values.items():
        # One entry of an array, that which matters most, stands for the others.
        largest = np.argmax(np.max(np.abs(gradient[path]), axis=0))
        h = jnp.zeros(value.size).at[largest].set(1e-4 * value.ravel()[largest]).reshape(value.shape)
        # Five points: truncation (1e-4)^4 and rounding 1e-16/1e-4 both lie below 1e-8 of log f.
        m_2, m_1, p_1, p_2 = (log_f(values | {path: value + k * h}) for k in (-2, -1, 1, 2))
        numeric = (m_2 - 8 * m_1 + 8 * p_1 - p_2) / 12
        got = jnp.sum(gradient[path] * h, axis=tuple(range(1, value.ndim + 1)))
        # Both are derivatives times h: per relative change of the parameter after division by 1e-4.
        assert np.max(np.abs(got - numeric) / 1e-4 / (1 + np.abs(p_1))) < 2e-8, path


@kinds
def test_derivatives_in_the_actions(kind):
    f = EXAMPLES[kind].bind(ORBITS)
    J = jnp.array([point for name, point in POINTS.items() if name != "J_phi = 0"])
    gradient = np.asarray(jax.jit(jax.vmap(jax.grad(f.log_f)))(J))
    for i in range(3):
        h = jnp.zeros(3).at[i].set(1e-3)
        m_2, m_1, p_1, p_2 = (_many(f, J + k * h) for k in (-2, -1, 1, 2))
        numeric = (m_2 - 8 * m_1 + 8 * p_1 - p_2) / (12 * 1e-3)
        # Rounding of log f over the step: 30 * 1e-16 / 1e-3 = 3e-12.
        np.testing.assert_allclose(gradient[:, i], numeric, rtol=1e-7, atol=1e-10)


@kinds
def test_one_sided_derivatives_at_zero_angular_momentum(kind):
    f = EXAMPLES[kind].bind(ORBITS)
    slope = jax.jit(jax.vmap(jax.grad(f.log_f)))
    axis = jnp.array([60.0, 25.0, 0.0])
    for side in (1.0, -1.0):
        h = jnp.array([0.0, 0.0, 1e-3 * side])
        at = _many(f, axis + jnp.arange(4.0)[:, None] * h)
        numeric = (-11 * at[0] + 18 * at[1] - 9 * at[2] + 2 * at[3]) / (6e-3 * side)
        # Third-order one-sided differences; the limit is taken 1e-9 kpc km/s from the kink.
        limit = slope((axis + 1e-6 * h)[None])[0, 2]
        assert float(limit) == pytest.approx(float(numeric), rel=1e-6, abs=1e-9)
    assert np.all(np.isfinite(slope(axis[None])))


@kinds
def test_density_is_positive_falls_and_is_finite_at_the_edges(kind):
    f = EXAMPLES[kind].bind(ORBITS)
    log_f = jax.jit(jax.value_and_grad(f.log_f))
    for J in ([0.0, 0.0, 0.0], [0.0, 0.0, 1600.0], [60.0, 0.0, 0.0], [0.0, 30.0, 0.0], [1e-12, 0.0, -1e-12]):
        value, gradient = log_f(jnp.array(J))
        assert np.isfinite(value), J
        assert not np.any(np.isnan(gradient)), J
    ray = [float(log_f(jnp.array([60.0, 25.0, 1600.0]) * s)[0]) for s in (1.0, 3.0, 10.0, 30.0, 100.0)]
    assert np.all(np.diff(ray) < 0)


@kinds
def test_huge_or_absent_actions_give_minus_infinity_and_no_nan(kind):
    f = EXAMPLES[kind].bind(ORBITS)
    log_f = jax.jit(jax.value_and_grad(f.log_f))
    for J in (
        [jnp.nan] * 3,
        [jnp.inf, 1.0, 1.0],
        [1.0, jnp.inf, 1.0],
        [1.0, 1.0, -jnp.inf],
        [1e300, 0.0, 0.0],
        [0.0, 0.0, 1e13],
    ):
        value, gradient = log_f(jnp.array(J))
        assert value == -jnp.inf, J
        assert np.all(np.asarray(gradient) == 0.0), J
    for J in ([1e7, 1e7, 1e7], [1e10, 0.0, 0.0], [0.0, 1e9, -1e9], [1e10, 1.0, 1e11]):
        value, gradient = log_f(jnp.array(J))
        assert value < log_f(jnp.array([1e3, 1e3, 1e3]))[0], J
        assert np.all(np.isfinite(gradient)), J


@kinds
def test_float32_is_kept_and_close(kind):
    f, J = EXAMPLES[kind], _some_actions()
    bound = jax.jit(lambda f: f.bind(ORBITS))(f)
    exact, mass = _many(bound, J), jax.jit(lambda f: f.mass())(bound)
    single = jax.jit(lambda f, orbits: f.bind(orbits))(_float32(f), _float32(ORBITS))
    low = _many(single, J.astype(jnp.float32))
    assert low.dtype == jnp.float32
    # 1e-7 of the terms (up to some hundreds), amplified by the spline's cells.
    np.testing.assert_allclose(low, exact, rtol=1e-4, atol=1e-4)
    low_mass = jax.jit(lambda f: f.mass())(single)
    assert low_mass.dtype == jnp.float32
    assert float(low_mass) == pytest.approx(float(mass), rel=1e-4)
    assert not np.any(np.isnan(_many(single, jnp.array([[1e11] * 3, [0.0, 0.0, 1e11]], jnp.float32))))


@kinds
def test_derivatives_of_the_mass(kind):
    f = EXAMPLES[kind]
    values = {path: p.value for path, p in params.parameters(f).items() if p.value.ndim == 0}

    @jax.jit
    def log_mass(values):
        return jnp.log(params.replace(f, values).bind(ORBITS).mass())

    gradient = jax.jit(jax.grad(log_mass))(values)
    for path, value in values.items():
        h = 1e-4 * value
        m = [float(log_mass(values | {path: value + k * h})) for k in (-2, -1, 1, 2)]
        numeric = (m[0] - 8 * m[1] + 8 * m[2] - m[3]) / (12 * h)
        # Rounding of ln mass (about 25): 1e-14 / 1e-4 = 1e-10.
        assert float(gradient[path] * value) == pytest.approx(float(numeric * value), abs=1e-8), path


@pytest.mark.parametrize("kind", [kind for kind in EXAMPLES if kind != "Mixture"])  # its own: tests/df
def test_bad_parameters_name_themselves(kind):
    f = EXAMPLES[kind]
    values = {path: p.value for path, p in params.parameters(f).items()}
    for path, value in values.items():
        if not bool(np.all(params.parameters(f)[path].support(-7.0))):
            with pytest.raises(ValueError, match=path):
                type(f)(**(values | {path: -7.0}))
        with pytest.raises(ValueError, match=path):
            type(f)(**(values | {path: jnp.full_like(value, jnp.nan)}))


@kinds
def test_pytree_round_trip(kind, tmp_path):
    f, J = EXAMPLES[kind], jnp.array(POINTS["ordinary"])
    leaves, structure = jax.tree.flatten(f)
    assert _log_f(jax.tree.unflatten(structure, leaves), J) == _log_f(f, J)
    eqx.tree_serialise_leaves(tmp_path / "f.eqx", f)
    blank = jax.tree.map(jnp.zeros_like, f)
    assert _log_f(eqx.tree_deserialise_leaves(tmp_path / "f.eqx", blank), J) == _log_f(f, J)


@pytest.mark.parametrize("kind", list(df.DFS))
def test_configurations_and_files_keep_every_kind(kind, tmp_path):
    f, J = EXAMPLES[kind], jnp.array(POINTS["ordinary"])
    table = {path: p.value.tolist() for path, p in params.parameters(f).items()} | {"kind": kind}
    built = parse_node(table, "components.one.df", df.DFS).build(df.DFS)
    numbers = {path: p.value.tolist() for path, p in params.parameters(built).items()}
    assert numbers | {"kind": kind} == table
    loaded = io.load(io.save(tmp_path / "f.json", f))
    assert type(loaded) is type(f) and float(_log_f(loaded, J)) == float(_log_f(f, J))


@kinds
def test_draws_of_actions_have_the_mass(kind):
    """An estimate of the mass that is independent of `mass()`; what lies beyond LARGEST_ACTION is 1e-4."""
    f = EXAMPLES[kind].bind(ORBITS)
    draws = df.draw_actions(f, jax.random.key(7), 100_000, progress=False)
    assert draws.mass_error < 2e-3 * draws.mass
    assert abs(draws.mass - float(f.mass())) < 4.0 * draws.mass_error
    # Cells fit f: few proposals are wasted, and hardly any bound had to be raised.
    assert draws.acceptance > 0.7 and draws.exceedances < 100
    log_f = np.asarray(_many(f, jnp.asarray(draws.J)))
    assert np.all(np.isfinite(log_f)) and np.all(draws.J[:, :2] >= 0.0)
