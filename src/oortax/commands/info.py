"""`oortax info`: versions and devices, and what to cite."""

import platform
from importlib import metadata
from typing import Any

PACKAGES = ("oortax", "jax", "jaxlib", "numpyro", "equinox", "optax", "numpy", "astropy", "arviz")

CITATIONS: tuple[tuple[str, str], ...] = (
    ("method", "Dehnen & Binney 1996, in Formation of the Galactic Halo, ASP Conf. 92, 393"),
    ("method", "Binney 2012, MNRAS 426, 1324 (Staeckel fudge)"),
    ("method", "Sanders & Binney 2015, MNRAS 447, 2479 (Delta of the fudge)"),
    (
        "method",
        "Binney 2010, MNRAS 401, 2318; Binney & McMillan 2011, MNRAS 413, 1889 (quasi-isothermal f(J))",
    ),
    ("method", "McMillan & Binney 2013, MNRAS 433, 1411 (f(J) fits to catalogues)"),
    ("method", "Vasiliev 2019, MNRAS 482, 1525 (AGAMA; the form of the quasi-isothermal used here)"),
    ("data", "Gaia Collaboration, Prusti et al. 2016, A&A 595, A1 (Gaia)"),
    ("data", "Gaia Collaboration, Vallenari et al. 2023, A&A 674, A1 (Gaia DR3)"),
    ("data", "Katz et al. 2023, A&A 674, A5 (Gaia line-of-sight velocities)"),
    ("data", "ESA 1997, SP-1200; van Leeuwen 2007, A&A 474, 653 (Hipparcos)"),
    ("data", "Wenger et al. 2000, A&AS 143, 9 (SIMBAD)"),
    ("data", "Eilers, Hogg, Rix & Ness 2019, ApJ 871, 120 (circular-speed curve)"),
    ("data", "Ou, Eilers, Necib & Frebel 2024, MNRAS 528, 693 (circular-speed curve)"),
    ("data", "Bovy & Rix 2013, ApJ 779, 115 (vertical force)"),
    ("data", "McClure-Griffiths & Dickey 2007, ApJ 671, 427; 2016, ApJ 831, 124 (H I terminal velocities)"),
    ("data", "Clemens 1985, ApJ 295, 422 (CO terminal velocities)"),
    ("data", "Reid et al. 2019, ApJ 885, 131 (masers)"),
    ("data", "Reid & Brunthaler 2020, ApJ 892, 39 (proper motion of Sgr A*)"),
    ("data", "the papers named in enclosed_mass_compilation.csv (enclosed masses)"),
    ("software", "Bradbury et al. 2018, JAX; Kidger & Garcia 2021, Equinox"),
    ("software", "Phan, Pradhan & Jankowiak 2019, NumPyro; Hoffman & Gelman 2014, JMLR 15, 1593 (NUTS)"),
    ("software", "Kumar et al. 2019, JOSS 4, 1143 (ArviZ); Foreman-Mackey 2016, JOSS 1, 24 (corner)"),
)

GAIA_CREDIT = (
    "This work has made use of data from the European Space Agency (ESA) mission Gaia "
    "(https://www.cosmos.esa.int/gaia), processed by the Gaia Data Processing and Analysis Consortium "
    "(DPAC, https://www.cosmos.esa.int/web/gaia/dpac/consortium). Funding for the DPAC has been provided "
    "by national institutions, in particular the institutions participating in the Gaia Multilateral "
    "Agreement."
)

LICENCES = {
    "oortax": "BSD-3-Clause",
    "gaia_giants.parquet": "measurements of ESA/Gaia/DPAC, free to use with the credit above; V and B-V by "
    "H. Leung and the Stellarium developers (values only)",
    "eilers_2019.csv": "published table; copy from gala (MIT)",
    "ou_2024.csv": "published table; copy from carlzimmerman/zimmerman-formula (values only)",
    "bovy_rix_2013_table3.csv": "published table; copy from jobovy/mwhalo-shape-2016 (BSD-3-Clause)",
    "hi_mcclure_griffiths_dickey_2007_q4.csv": "published; copy from jobovy/mwhalo-shape-2016 (BSD-3-Clause)",
    "hi_mcclure_griffiths_dickey_2016_q1.csv": "published; copy from jobovy/mwhalo-shape-2016 (BSD-3-Clause)",
    "co_clemens_1985_q1.csv": "published table; copy from jobovy/mwhalo-shape-2016 (BSD-3-Clause)",
    "reid_2019_masers.csv": "published measurements; copy from tvwenger/coop2021 (values only)",
    "enclosed_mass_compilation.csv": "published values; copy from gala (MIT)",
}


def versions() -> dict[str, str]:
    """Versions of Python and of the packages whose numbers enter a result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def devices() -> list[dict[str, Any]]:
    """The devices JAX would use."""
    import jax

    return [{"id": d.id, "platform": d.platform, "kind": d.device_kind} for d in jax.devices()]


def citations() -> dict[str, Any]:
    """Papers by purpose, the credit Gaia asks for, and licences, with the provenance of the data."""
    from oortax import data

    papers = {
        purpose: [paper for kind, paper in CITATIONS if kind == purpose]
        for purpose in dict.fromkeys(kind for kind, _ in CITATIONS)
    }
    return {"papers": papers, "credit": GAIA_CREDIT, "licences": LICENCES, "provenance": data.provenance()}


def info(*, cite: bool = False, json: bool = False) -> None:
    """Print versions and devices, or with `cite` what a paper that uses the package should cite."""
    from oortax.commands.session import print_json

    value = citations() if cite else {"versions": versions(), "devices": devices()}
    if json:
        print_json(value)
        return
    print(_cite_text(value) if cite else _version_text(value))


def _version_text(value: dict[str, Any]) -> str:
    lines = [f"{name:<10} {version}" for name, version in value["versions"].items()]
    lines += [f"device     {d['platform']}:{d['id']} ({d['kind']})" for d in value["devices"]]
    return "\n".join(lines)


def _cite_text(value: dict[str, Any]) -> str:
    lines = []
    for purpose, papers in value["papers"].items():
        lines += [f"{purpose.capitalize()}:", *(f"  {paper}" for paper in papers), ""]
    lines += ["Credit:", f"  {value['credit']}", "", "Licences:"]
    lines += [f"  {name}: {text}" for name, text in value["licences"].items()]
    return "\n".join([*lines, "", "Where the bundled data come from: oortax.data.provenance()"])
