"""A bar on stderr for batches: how many inputs are done, how fast, how many failed. Nothing where stderr is no terminal."""

from __future__ import annotations

import sys
import time
from typing import TextIO

WIDTH = 30
EVERY_S = 0.1


class Bar:
    """Drawn anew at most every `EVERY_S`; ``total`` is None where it is not known."""

    def __init__(self, total: int | None, file: TextIO | None = None) -> None:
        self._file = file or sys.stderr
        self._total = total
        self._began = time.monotonic()
        self._drawn_at = -EVERY_S
        self._shown = self._file.isatty()

    def __call__(self, done: int, failed: int) -> None:
        """Draw."""
        now = time.monotonic()
        if self._shown and (done == self._total or now - self._drawn_at >= EVERY_S):
            self._drawn_at = now
            self._file.write(f"\r{self._line(done, failed, now - self._began)}\x1b[K")
            self._file.flush()

    def close(self) -> None:
        """Leave the line."""
        if self._shown:
            self._file.write("\n")

    def _line(self, done: int, failed: int, seconds: float) -> str:
        rate = f"{done / seconds:.1f}/s" if seconds > 0 else ""
        bad = f", {failed} failed" if failed else ""
        if not self._total:
            return f"{done} done {rate}{bad}"
        full = WIDTH * done // self._total
        return f"[{'#' * full}{'.' * (WIDTH - full)}] {done}/{self._total} {rate}{bad}"
