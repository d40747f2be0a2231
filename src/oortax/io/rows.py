"""Which rows of a catalogue are used, and why the others are not."""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class RowReport:
    """Counts of the rows read, excluded (by reason, in the order of the checks) and used.

    A row is counted once, under the first reason that removes it, so that
    `n_read - sum(excluded.values()) == n_used`.

    >>> report = RowReport("stars.csv", 10, {"parallax is not positive": 2}, ("v_los is missing for 3 rows",))
    >>> print(*report.sentences(), sep="\\n")
    stars.csv: 10 rows read, 8 used
    2 rows excluded: parallax is not positive
    v_los is missing for 3 rows
    """

    source: str
    n_read: int
    excluded: Mapping[str, int] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def n_used(self) -> int:
        """The number of rows that remain."""
        return self.n_read - sum(self.excluded.values())

    def sentences(self) -> list[str]:
        """The report in words, one sentence per line."""
        lines = [f"{self.source}: {self.n_read:,} rows read, {self.n_used:,} used"]
        for reason, count in self.excluded.items():
            lines.append(f"{count:,} {'row' if count == 1 else 'rows'} excluded: {reason}")
        return [*lines, *self.notes]

    def followed_by(self, later: "RowReport") -> "RowReport":
        """This report continued by one on the rows it left."""
        return RowReport(
            self.source, self.n_read, {**self.excluded, **later.excluded}, self.notes + later.notes
        )

    def with_notes(self, notes: Iterable[str]) -> "RowReport":
        """This report with sentences added."""
        return dataclasses.replace(self, notes=(*self.notes, *notes))

    def as_dict(self) -> dict:
        """The report as plain types, for JSON."""
        return {
            "source": self.source,
            "read": self.n_read,
            "used": self.n_used,
            "excluded": dict(self.excluded),
            "notes": list(self.notes),
        }


class RowFilter:
    """Removes rows reason by reason and counts each row once.

    Parameters
    ----------
    source : what the messages call the catalogue
    n : the number of rows read
    """

    def __init__(self, source: str, n: int):
        self.source = source
        self.keep = np.ones(n, dtype=bool)
        self.excluded: dict[str, int] = {}
        self.notes: list[str] = []

    def drop(self, bad: np.ndarray, reason: str) -> None:
        """Exclude the rows where `bad` is true, counting those not yet excluded."""
        new = bad & self.keep
        if new.any():
            self.excluded[reason] = self.excluded.get(reason, 0) + int(new.sum())
            self.keep &= ~new

    def note(self, sentence: str) -> None:
        """Add a sentence to the report that excludes nothing."""
        self.notes.append(sentence)

    def report(self) -> RowReport:
        """The counts so far."""
        return RowReport(self.source, len(self.keep), dict(self.excluded), tuple(self.notes))

    def require_some(self, remedy: str) -> None:
        """Raise ValueError with the whole count if no row is left."""
        if not self.keep.any():
            lines = self.report().sentences()
            raise ValueError(f"no star is left of {'; '.join(lines)}. {remedy}")


def rows_in_words(bad: np.ndarray, limit: int = 5) -> str:
    """Row numbers (from 0) where `bad` is true, shortened.

    >>> rows_in_words(np.array([True, False, True]))
    'rows 0, 2'
    >>> rows_in_words(np.ones(8, dtype=bool))
    'rows 0, 1, 2, 3, 4 and 3 more'
    """
    index = np.flatnonzero(bad)
    shown = ", ".join(str(i) for i in index[:limit])
    more = f" and {len(index) - limit:,} more" if len(index) > limit else ""
    return f"{'row' if len(index) == 1 else 'rows'} {shown}{more}"
