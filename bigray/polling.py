"""Calls a function now and then in the background while a block runs: how a driver follows files that workers write."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def polling(look: Callable[[], None], every_s: float = 0.5) -> Iterator[None]:
    """Call ``look`` every ``every_s`` seconds, and once more when the block ends."""
    stop = threading.Event()

    def loop() -> None:
        while not stop.wait(every_s):
            look()

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        look()
