"""Reading and writing: catalogues, configurations, saved models, output folders.

>>> from oortax import io
>>> stars, report = io.read_catalogue("gaia_giants")
>>> print(report.sentences()[0])
gaia_giants.parquet: 45,156 rows read, 45,156 used
"""

from oortax.io.agama import from_agama, to_agama
from oortax.io.config import Config, load_config, parse_config
from oortax.io.gala import from_gala, to_gala
from oortax.io.galpy import from_galpy, to_galpy
from oortax.io.luminosity import luminosity_function
from oortax.io.output import atomic, numbered_folder, open_folder, sha256, write_json, write_text
from oortax.io.problem import Problem, build
from oortax.io.rows import RowReport
from oortax.io.save import load, save
from oortax.io.tables import QUANTITIES, read_catalogue, read_table

__all__ = [
    "QUANTITIES",
    "Config",
    "Problem",
    "RowReport",
    "atomic",
    "build",
    "from_agama",
    "from_gala",
    "from_galpy",
    "load",
    "load_config",
    "luminosity_function",
    "numbered_folder",
    "open_folder",
    "parse_config",
    "read_catalogue",
    "read_table",
    "save",
    "sha256",
    "to_agama",
    "to_gala",
    "to_galpy",
    "write_json",
    "write_text",
]
