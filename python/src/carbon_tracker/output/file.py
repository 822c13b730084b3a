"""emissions.csv: CodeCarbon's columns, order, units and file names."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Optional, Union

from ..emissions import COLUMNS, TASK_COLUMNS, EmissionsData, TaskEmissionsData
from ..say import warn
from .base import BaseOutput


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """One writer at a time, where the system and the filesystem have locks; ranks of a job share a file."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with open(path, "a", encoding="utf-8") as file:
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], header: bool) -> str:
    """Rows as text. Missing values are empty, as pandas writes them."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows({name: "" if row[name] is None else row[name] for name in columns} for row in rows)
    return text.getvalue()


def replace(path: str, text: str) -> None:
    """The whole file, or none of it."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8", newline="") as file:
        file.write(text)
    os.replace(temporary, path)


def set_aside(path: str) -> str:
    """Moves a file to `.bak`, `.bak_0`, `.bak_1` ..., whichever is free."""
    free, number = f"{path}.bak", 0
    while os.path.exists(free):
        free, number = f"{path}.bak_{number}", number + 1
    os.rename(path, free)
    return free


class FileOutput(BaseOutput):
    """Rows of a CSV file: one for each stop or flush, or by `update` one for each run."""

    def __init__(self, output_file_name: str, output_dir: str, on_csv_write: str = "append") -> None:
        if on_csv_write not in ("append", "update"):
            raise ValueError(f"on_csv_write is append or update, not {on_csv_write!r}")
        if not os.path.isdir(output_dir):
            raise OSError(f"folder {output_dir!r} does not exist: make it, or give another output_dir")
        self.output_file_name, self.output_dir, self.on_csv_write = output_file_name, output_dir, on_csv_write
        self.save_file_path = os.path.join(output_dir, output_file_name)

    def has_valid_headers(self, data: EmissionsData, headers: Optional[Sequence[str]] = None) -> bool:
        """Whether the file has the columns of the record, in any order."""
        found = headers if headers is not None else self._headers()
        return found is None or sorted(found) == sorted(data.values)

    def _headers(self) -> Optional[list[str]]:
        try:
            with open(self.save_file_path, encoding="utf-8", newline="") as file:
                return next(csv.reader(file), None)
        except OSError:
            return None

    def out(self, total: EmissionsData, delta: Union[EmissionsData, None]) -> None:
        """Writes the row. A file with other columns is set aside, as CodeCarbon does."""
        with locked(os.path.join(self.output_dir, f".{self.output_file_name}.lock")):
            headers = self._headers()
            if headers and not self.has_valid_headers(total, headers):
                warn(f"{self.save_file_path} has other columns: it is now {set_aside(self.save_file_path)}")
                headers = None
            row = dict(total.values)
            if not headers:
                replace(self.save_file_path, as_csv([row], COLUMNS, header=True))
            elif self.on_csv_write == "append":
                self._append(as_csv([row], headers, header=False))
            else:
                self._update(row, headers)

    def _append(self, text: str) -> None:
        with open(self.save_file_path, "r+", encoding="utf-8", newline="") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            # A row that was cut off, by a full disk or a kill, does not take the next one with it.
            torn = end > 0 and file.read(1) not in ("\n", "\r")
            file.seek(0, os.SEEK_END)
            file.write(("\n" if torn else "") + text)

    def _update(self, row: dict[str, Any], headers: list[str]) -> None:
        with open(self.save_file_path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        same = [old for old in rows if old.get("run_id") == row["run_id"]]
        if len(same) > 1:
            warn(f"{self.save_file_path} has {len(same)} rows of this run: another is added")
        else:
            rows = [old for old in rows if old.get("run_id") != row["run_id"]]
        replace(self.save_file_path, as_csv([*rows, row], headers, header=True))

    def task_out(self, data: list[TaskEmissionsData], experiment_name: str) -> None:
        """Writes all tasks of the run to a file of their own."""
        path = os.path.join(self.output_dir, f"emissions_{experiment_name}_{data[0].run_id}.csv")
        rows = [task.values for task in data]
        # As pandas leaves them out for CodeCarbon: columns of which nothing is known.
        columns = [name for name in TASK_COLUMNS if any(row[name] is not None for row in rows)]
        replace(path, as_csv(rows, columns, header=True))
