"""Do huggingface_hub, tritonclient and openai, unmodified, get answers from every task that their dialect has?"""

from __future__ import annotations

from pathlib import Path

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures.malformed import outcomes
from bigray import plugins


def run(data: Path | None, work: Path) -> list[Bar]:
    tasks = len(plugins.names("bigray.tasks"))
    # a client that is not installed is skipped by its test, and counts as missing here
    passed, failed = outcomes(["tests/serve/test_clients.py"], work, haproxy=True)
    return [
        at_least(f"tests of three clients of others against {tasks} tasks that passed", passed, 5, ""),
        at_most("tests of clients of others that failed", failed, 0, ""),
    ]
