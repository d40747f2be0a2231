"""The notebook runs from top to bottom, with few stars."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "notebooks" / "demo.ipynb"
STARS = 150


def tagged(notebook, tag: str):
    """The one code cell with a tag."""
    (cell,) = [c for c in notebook.cells if tag in c.metadata.get("tags", ())]
    return cell


@pytest.fixture
def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_committed_without_output(notebook):
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(code) > 5 and not any(cell.outputs or cell.execution_count for cell in code)


def test_installation_keeps_colabs_jax_and_only_runs_there(notebook):
    source = tagged(notebook, "install").source
    guarded = source.split('if "google.colab" in sys.modules:')[1].strip("\n").splitlines()
    assert all(not line or line.startswith("    ") for line in guarded)
    assert "--constraint keep.txt" in source and "--upgrade" not in source


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_it_runs(notebook, tmp_path):
    cell = tagged(notebook, "parameters")
    cell.source, changed = re.subn(r"N_STARS = \d+", f"N_STARS = {STARS}", cell.source)
    assert changed == 1
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    shown = [output for c in notebook.cells if c.cell_type == "code" for output in c.outputs]
    text = "".join(output.text for output in shown if output.output_type == "stream")
    assert f"{STARS} of the 45,156 drawn at random" in text
    # Five figures: a cell that stops drawing would pass unnoticed otherwise.
    assert sum("image/png" in output.get("data", {}) for output in shown) == 5
    halo = re.search(r"potential\.halo\.q +(\S+) \+- (\S+)", text)
    assert halo and 0.4 < float(halo[1]) < 1.6 and 0 < float(halo[2])
