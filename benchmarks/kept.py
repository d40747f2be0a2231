"""What a long benchmark has measured, kept on disc, so that an interrupted run goes on."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any


def kept(variable: str, name: str, measure: Callable[[], Any]) -> Any:
    """What `measure()` gives, in JSON's types, read from `name`.json in the folder that a variable names.

    Measured, and written there, if there is no such file; measured alone where the variable is not set.
    """
    folder = os.environ.get(variable)
    if folder is None:
        return measure()
    file = Path(folder) / f"{name}.json"
    if not file.is_file():
        found = json.dumps(measure())
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(found, encoding="utf-8")
    return json.loads(file.read_text(encoding="utf-8"))
