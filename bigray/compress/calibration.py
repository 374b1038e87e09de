"""What goes into each exported graph while calibration rows are answered: what static quantization takes ranges from.

A network that answers in one pass gets encoded rows. One that answers step by step (an encoder and a decoder's step, say)
has several graphs, and what a step gets is left by those before it: so rows are answered with the graphs just exported,
and what each of them was given is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from bigray.engines.base import Arrays, Session
from bigray.tasks.base import Batch, Row, Task

STEPS, ROWS = 4, 24
"""Of a graph that is run many times for a row: how many of its inputs are kept, and of how many rows."""


def batches(task: Task, rows: Sequence[Row], load: Callable[[], Session]) -> dict[str, list[Arrays]]:
    """Return part -> batches of one row (and its beams), for each graph of the task; "" is its first.

    Args:
        task: How rows are encoded and answered.
        rows: Calibration rows; of many, the first `ROWS` where a task has several graphs.
        load: Opens the exported graphs, unchanged; called where a task has several.
    """
    heard: dict[str, list[Arrays]] = {name: [] for name in task.graphs}
    if len(heard) == 1:
        return {
            "": [
                {name: batch[name] for name in task.inputs}
                for batch in (task.encode([task.asked(row)]) for row in rows)
            ]
        }
    session = load()
    for row in rows[:ROWS]:
        listener = _Listener(session)
        task.infer(listener.run, task.encode([task.asked(row)]))
        for part, given in listener.heard.items():
            names = task.graphs[part].inputs
            heard[part] += [{name: one[name] for name in names} for one in _spread(given)]
    session.close()
    return heard


class _Listener:
    """Runs a session and remembers what it is given."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.heard: dict[str, list[Batch]] = {}

    def run(self, inputs: Mapping[str, np.ndarray], part: str = "") -> Arrays:
        self.heard.setdefault(part, []).append(dict(inputs))
        return self._session.run(inputs, part)


def _spread(given: Sequence[Batch]) -> Iterator[Batch]:
    """Yield the first, the last and some between, evenly: a cache grows with every step."""
    for place in sorted({round(at) for at in np.linspace(0, len(given) - 1, STEPS)}):
        yield given[place]
