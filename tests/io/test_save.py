"""Saved models come back bit for bit; files that are not ours are refused in a sentence."""

import json
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.distributions import constraints

from oortax import df, io, params, potential, stars, survey
from oortax.params import param
from oortax.potential.base import AbstractPotential


@final
class Harmonic(AbstractPotential):
    """A user's own potential, defined outside the package."""

    omega: jax.Array = param(constraints.positive, "km/s/kpc")

    def Phi(self, x):
        return 0.5 * self.omega**2 * (x @ x)


@pytest.fixture
def pot():
    return potential.Sum(
        disc=potential.MiyamotoNagai(M=6.8e10 / 3, a=np.pi, b=0.1),
        halo=potential.FlattenedNFW(rho_s=1e7 / 7, r_s=16.0, q=0.8),
    )


TREES = {
    "sun": survey.Sun(R0=8.178, z0=0.1),
    "df": df.QuasiIsothermal(R_d=2.6, sigma_r0=1e2 / 3, R_sigma=8.0, H_d=0.3),
    "table": stars.Tabulated(np.linspace(0, 1, 6), np.sin(np.arange(6))),
    "survey": survey.Survey(selection=(survey.Magnitude(max=10.5), survey.AbsLatitude(min=25.0))),
    "mapping": {"a": survey.Sun(), "b": [1, 2.5, "text", None, True], "c": (jnp.arange(3.0),)},
}


@pytest.mark.parametrize("name", TREES)
def test_round_trip_is_exact(tmp_path, name):
    loaded = io.load(io.save(tmp_path / "tree.json", TREES[name]))
    assert jax.tree.structure(loaded) == jax.tree.structure(TREES[name])
    assert eqx.tree_equal(loaded, TREES[name])


def test_a_potential_gives_the_same_numbers_and_paths(tmp_path, pot):
    loaded = io.load(io.save(tmp_path / "pot.json", pot))
    x = jnp.array([8.0, 0.3, 0.2])
    assert float(loaded.Phi(x)) == float(pot.Phi(x))
    assert list(params.parameters(loaded)) == list(params.parameters(pot))


def test_float32_stays_float32(tmp_path):
    tree = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), potential.NFW(rho_s=1e7, r_s=0.1))
    loaded = io.load(io.save(tmp_path / "f32.json", tree))
    assert loaded.r_s.dtype == jnp.float32 and eqx.tree_equal(loaded, tree)


def test_a_users_own_class(tmp_path):
    path = io.save(tmp_path / "own.json", Harmonic(omega=30.0))
    assert float(io.load(path).omega) == 30.0


def test_the_file_names_public_classes_and_the_version(tmp_path, pot):
    text = io.save(tmp_path / "pot.json", pot).read_text()
    assert '"oortax.potential.FlattenedNFW"' in text and json.loads(text)["oortax"]


def test_an_unknown_class_is_named_and_not_imported(tmp_path, pot):
    path = io.save(tmp_path / "pot.json", pot)
    path.write_text(path.read_text().replace("oortax.potential.FlattenedNFW", "oortax.potential.FlattendNFW"))
    with pytest.raises(ValueError, match="unknown class 'oortax.potential.FlattendNFW'; did you mean 'Flatt"):
        io.load(path)
    path.write_text(path.read_text().replace("oortax.potential.FlattendNFW", "somebody.else.Halo"))
    with pytest.raises(ValueError, match="import somebody.else first"):
        io.load(path)
    path.write_text(path.read_text().replace("somebody.else.Halo", "os.system"))
    with pytest.raises(ValueError, match="unknown class 'os.system'"):
        io.load(path)


def test_values_outside_their_support_are_refused(tmp_path):
    path = io.save(tmp_path / "nfw.json", potential.NFW(rho_s=1e7, r_s=16.0))
    path.write_text(path.read_text().replace("16.0", "-16.0"))
    with pytest.raises(ValueError, match="r_s must be positive"):
        io.load(path)


def test_other_files_are_refused(tmp_path, pot):
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(ValueError, match="not a file written by"):
        io.load(tmp_path / "a.json")
    (tmp_path / "b.json").write_bytes(b"\x89HDF\xff")
    with pytest.raises(ValueError, match="not a file written by"):
        io.load(tmp_path / "b.json")
    path = io.save(tmp_path / "pot.json", pot)
    path.write_text(path.read_text().replace('"r_s"', '"radius"'))
    with pytest.raises(ValueError, match="another definition"):
        io.load(path)
    path.write_text(path.read_text().replace('"format": 1', '"format": 99'))
    with pytest.raises(ValueError, match="layout 99"):
        io.load(path)


def test_what_cannot_be_saved_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"tree\.f is a function"):
        io.save(tmp_path / "f.json", {"f": lambda x: x})
    assert not list(tmp_path.iterdir()), "nothing is left behind"
