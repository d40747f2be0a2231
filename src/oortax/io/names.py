"""Nearest-name suggestions for messages about misspelt keys, kinds, columns and paths."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str:
    """ "; did you mean ...?" for the nearest known name, or the empty string.

    >>> nearest("sead", ["seed", "chains"])
    "; did you mean 'seed'?"
    >>> nearest("xyz", ["seed"])
    ''
    """
    lower = {str(k).lower(): str(k) for k in known}
    near = difflib.get_close_matches(str(name).lower(), list(lower), n=1, cutoff=0.5)
    return f"; did you mean {lower[near[0]]!r}?" if near else ""


def check_keys(table: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise ValueError for the first key that is not known, suggesting the nearest."""
    known = list(known)
    for key in table:
        if key not in known:
            raise ValueError(f"{where}: unknown key {key!r}{nearest(key, known)} (known: {', '.join(known)})")
