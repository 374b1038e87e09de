"""One small input per task, ``<task>.<ending>``, to try a model with; made for this or, the digit, from scikit-learn."""

from __future__ import annotations

from pathlib import Path

from bigray.errors import NotFound


def locate(task: str) -> Path:
    """Return the file of a task's sample input.

    Raises:
        NotFound: There is none.
    """
    found = sorted(Path(__file__).parent.glob(f"{task}.*"))
    if not found:
        raise NotFound(f"There is no sample input for {task!r}. Give an input.")
    return found[0]
