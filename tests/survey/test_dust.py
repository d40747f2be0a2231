"""Dust with structure: integrals against adaptive quadrature, maps, derivatives, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from oortax import io, survey

SUN = survey.Sun()
DISC = survey.DustDisc(k=0.7, h=0.1, R_d=3.5)
A = jax.jit(lambda dust, l, b, s: dust.A(SUN, l, b, s))


def column(l, b, s):
    """The integral of the density, by adaptive quadrature between the places where it has a kink."""
    R0, z0 = float(SUN.R0), float(SUN.z0)

    def density(t):
        z = z0 + t * np.sin(b)
        R = np.hypot(R0 - t * np.cos(b) * np.cos(l), t * np.cos(b) * np.sin(l))
        return 0.7 * np.exp(-abs(z) / 0.1 - (R - R0) / 3.5)

    kinks = [R0 * np.cos(l), 0.3, 1.0] + ([-z0 / np.sin(b)] if b else [])
    ends = [0.0, *sorted(t for t in kinks if 0 < t < s), s]
    return sum(quad(density, p, q, epsrel=1e-11, limit=200)[0] for p, q in zip(ends, ends[1:], strict=False))


@pytest.mark.parametrize("l", [0.0, 0.3, 1.5, 3.0])
def test_disc_is_the_integral_of_its_density(l):
    """Through and along the plane, past the centre, to the poles; accuracy as in the docstring."""
    for b in (0.0, 1e-9, -0.005, 0.05, -0.3, 1.2, -1.5):
        for s in (0.1, 1.0, 20.0):
            assert float(A(DISC, l, b, s)) == pytest.approx(column(l, b, s), rel=2e-6), (b, s)
    assert float(A(DISC, 0.03, 0.0, 20.0)) == pytest.approx(column(0.03, 0.0, 20.0), rel=2e-4)


def test_disc_without_scale_length_is_the_layer():
    wide, layer = survey.DustDisc(0.7, 0.1, 1e8), survey.DustLayer(0.7, 0.1)
    for l, b, s in ((0.3, -0.2, 4.0), (2.0, 0.0, 3.0), (1.0, 1.0, 0.01), (0.5, -0.02, 2.0)):
        # R varies by 20 kpc of 1e8.
        assert float(A(wide, l, b, s)) == pytest.approx(float(A(layer, l, b, s)), rel=1e-6)


def test_bands_scale_the_extinction():
    for band, ratio in survey.BAND_COEFFICIENTS.items():
        dust = survey.DustDisc(0.7, 0.1, 3.5, band)
        assert float(A(dust, 1.0, 0.1, 2.0) / A(DISC, 1.0, 0.1, 2.0)) == pytest.approx(ratio)
    order = sorted(survey.BAND_COEFFICIENTS, key=survey.BAND_COEFFICIENTS.get, reverse=True)
    assert order == ["B", "BP", "V", "G", "RP"]  # by wavelength


def test_disc_gradients_match_finite_differences():
    def value(k, h, R_d, z0, b, s):
        return survey.DustDisc(k, h, R_d).A(survey.Sun(z0=z0), 0.3, b, s)

    value = jax.jit(value)
    slope = jax.jit(jax.grad(value, argnums=(0, 1, 2, 3, 4, 5)))
    for b in (-0.01, 0.4, -1.2):
        at = [jnp.asarray(x) for x in (0.7, 0.1, 3.5, 0.02, b, 3.0)]
        for i, found in enumerate(slope(*at)):
            up, down = ([x + e * (j == i) for j, x in enumerate(at)] for e in (1e-6, -1e-6))
            difference = float(value(*up) - value(*down)) / 2e-6
            assert float(found) == pytest.approx(difference, rel=1e-6, abs=1e-8)
    slopes = slope(*(jnp.asarray(x) for x in (0.7, 0.1, 3.5, 0.02, 0.0, 3.0)))
    assert np.all(np.isfinite(slopes))


def a_map():
    l, b, s = np.arange(0.0, 360.0, 15.0), np.linspace(-90, 90, 13), np.linspace(0.25, 4.0, 16)
    return survey.DustMap(grid(l, b, s), l, b, s), (l, b, s)


def grid(l, b, s):
    points = np.meshgrid(np.radians(l), np.radians(b), s, indexing="ij")
    flat = jax.jit(jax.vmap(lambda l, b, s: DISC.A(SUN, l, b, s)))(*(jnp.asarray(p.ravel()) for p in points))
    return np.asarray(flat).reshape(points[0].shape)


def test_a_map_has_its_own_values_and_goes_around():
    dust, (l, b, s) = a_map()
    for i, j, k in ((0, 3, 0), (7, 6, 9), (23, 12, 15)):
        assert float(A(dust, np.radians(l[i]), np.radians(b[j]), s[k])) == pytest.approx(
            float(dust.A_V[i, j, k]), rel=1e-9
        )
    near, over = (float(A(dust, x, 0.3, 2.0)) for x in (2 * np.pi - 1e-7, 1e-7))
    assert near == pytest.approx(over, rel=1e-5)
    assert float(A(dust, 0.4, 0.3, 0.0)) == 0.0
    assert float(A(dust, 0.4, 0.3, 9.0)) == float(A(dust, 0.4, 0.3, 4.0))
    rising = [float(A(dust, 0.4, 0.3, x)) for x in np.linspace(0, 4, 60)]
    assert np.all(np.diff(rising) >= 0)


def test_a_map_s_gradients():
    dust, _ = a_map()

    def value(scale, b, s):
        return survey.DustMap(dust.A_V, dust.l, dust.b, dust.s, scale).A(SUN, 0.7, b, s)

    slopes = jax.grad(lambda s: dust.A(SUN, 0.7, 0.3, s))(1.1)
    difference = (A(dust, 0.7, 0.3, 1.1 + 1e-5) - A(dust, 0.7, 0.3, 1.1 - 1e-5)) / 2e-5
    assert float(slopes) == pytest.approx(float(difference), rel=1e-5)
    assert float(jax.grad(value)(2.0, 0.3, 1.1)) == pytest.approx(float(A(dust, 0.7, 0.3, 1.1)), rel=1e-9)


def test_maps_and_discs_in_a_configuration(tmp_path):
    dust, (l, b, s) = a_map()
    file = tmp_path / "dust.npz"
    np.savez(file, A_V=dust.A_V, l=l, b=b, s=s)
    table = {"kind": "dust_map", "file": str(file), "scale": 0.5, "band": "G"}
    node = io.nodes.parse_node(table, "survey.extinction", survey.EXTINCTIONS)
    built = node.build(survey.EXTINCTIONS)
    expected = 0.5 * survey.band_coefficient("G") * float(A(dust, 1.0, 0.2, 2.0))
    assert float(A(built, 1.0, 0.2, 2.0)) == pytest.approx(expected)
    table = {"kind": "dust_disc", "k": 0.7, "h": 0.1}
    built = io.nodes.parse_node(table, "survey.extinction", survey.EXTINCTIONS).build(survey.EXTINCTIONS)
    assert isinstance(built, survey.DustDisc) and float(built.R_d) == 3.5
    np.savez(file, A_V=dust.A_V, l=l, b=b)
    with pytest.raises(ValueError, match="lacks s"):
        survey.dust_map(str(file))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: survey.DustDisc(0.7, -0.1), "h must be positive"),
        (lambda: survey.DustDisc(0.7, 0.1, 0.0), "R_d must be positive"),
        (lambda: survey.DustDisc(0.7, 0.1, 3.5, "K"), "unknown band 'K'"),
        (lambda: survey.DustMap(np.ones((3, 3, 2)), [0, 90, 180], [-9, 0, 9], [1, 2, 3]), "has shape"),
        (lambda: survey.DustMap(-np.ones((3, 3, 3)), [0, 90, 180], [-9, 0, 9], [1, 2, 3]), "not negative"),
        (lambda: survey.DustMap(np.ones((3, 3, 3)), [0, 90, 360], [-9, 0, 9], [1, 2, 3]), "l=.*increasing"),
        (lambda: survey.DustMap(np.ones((3, 3, 3)), [0, 90, 180], [-99, 0, 9], [1, 2, 3]), "b=.*increasing"),
        (lambda: survey.dust_map("nowhere.npz"), "no such .npz file"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        build()
