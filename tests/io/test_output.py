"""Output folders are numbered, never overwritten by accident, and files appear whole."""

import logging
import os

import pytest

from oortax.io import atomic, numbered_folder, open_folder, sha256, write_json, write_text
from oortax.io.output import start_log, stop_log


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_folders_are_numbered_in_sequence():
    names = [open_folder(None, "oortax-demo", identity="x").name for _ in range(3)]
    assert names == ["oortax-demo-1", "oortax-demo-2", "oortax-demo-3"]
    assert numbered_folder("oortax-fit").name == "oortax-fit-1"


def test_a_used_folder_is_never_taken_silently(tmp_path):
    folder = open_folder(tmp_path / "out", "stem", identity="a = 1\n")
    with pytest.raises(ValueError, match="--resume continues it, --force writes over it"):
        open_folder(folder, "stem", identity="a = 1\n")
    assert open_folder(folder, "stem", force=True, identity="a = 2\n") == folder
    assert (folder / "config.toml").read_text() == "a = 2\n"


def test_resume_needs_the_same_configuration(tmp_path):
    with pytest.raises(ValueError, match="nothing to resume"):
        open_folder(None, "stem", resume=True, identity="a = 1\n")
    first = open_folder(None, "stem", identity="a = 1\n")
    second = open_folder(None, "stem", identity="a = 1\n")
    assert open_folder(None, "stem", resume=True, identity="a = 1\n").name == second.name
    assert open_folder(first, "stem", resume=True, identity="a = 1\n") == first
    with pytest.raises(ValueError, match="another configuration"):
        open_folder(first, "stem", resume=True, identity="a = 2\n")
    with pytest.raises(ValueError, match="nothing to resume"):
        open_folder(tmp_path / "new", "stem", resume=True)
    with pytest.raises(ValueError, match="exclude each other"):
        open_folder(first, "stem", resume=True, force=True)


def test_tenth_folder_is_later_than_the_ninth():
    for number in (2, 9, 10):
        os.mkdir(f"stem-{number}")
        write_text(f"stem-{number}/config.toml", "a = 1\n")
    assert open_folder(None, "stem", resume=True, identity="a = 1\n").name == "stem-10"


def test_a_file_in_the_way_is_named(tmp_path):
    write_text(tmp_path / "out", "text")
    with pytest.raises(ValueError, match="is a file"):
        open_folder(tmp_path / "out", "stem", force=True)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(RuntimeError), atomic(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_json_holds_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"x": float("nan"), "y": [1.0, float("inf")]})
    assert "NaN" not in (tmp_path / "a.json").read_text() and "null" in (tmp_path / "a.json").read_text()


def test_sha256_is_the_published_one(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1.
    assert sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea414140de5dae2223")


def test_the_log_of_one_run_does_not_run_into_the_next(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        start_log(tmp_path / name)
        logging.getLogger("oortax.model").info("in %s", name)
    stop_log()
    logging.getLogger("oortax").info("after")
    assert (tmp_path / "one" / "run.log").read_text().count("in ") == 1
    assert (tmp_path / "two" / "run.log").read_text().strip().endswith("INFO in two")
