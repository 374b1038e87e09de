"""A search whose driver is killed with SIGKILL at a third of its candidates and again at two thirds, beside one left alone."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from benchmarks.form import Bar, at_least, at_most
from benchmarks.measures import searches
from bigray.results import Trial

KILLS = (1 / 3, 2 / 3)
PATIENCE_S = 3600.0


def run(data: Path | None, work: Path) -> list[Bar]:
    trained = searches.train(work / "killed")
    whole, part = work / "killed" / "whole", searches.fresh(trained, work / "killed" / "part")
    if len(searches.outcomes(whole)) < searches.TRIALS:
        searches.start("run", searches.fresh(trained, whole)).wait()
    kills, again = 0, 0
    before: dict[str, int] = {}
    for share in KILLS:
        kills += _kill_at(part, math.ceil(share * searches.TRIALS))
        now = searches.written(part)
        again += sum(now[key] != moment for key, moment in before.items())
        before = now
    searches.start("run", part).wait()
    now = searches.written(part)
    again += sum(now[key] != moment for key, moment in before.items())
    proposed, told = searches.proposals(part)
    alone, killed = searches.outcomes(whole), searches.outcomes(part)
    both = [key for key in alone.keys() & killed.keys() if "ok" == alone[key].status == killed[key].status]
    other = [key for key in both if _found(alone[key]) != _found(killed[key])]
    print(f"{len(both)} candidates finished in both; proposed {proposed}, told {told}", file=sys.stderr)
    fronts = [_front({key: found[key] for key in both}) for found in (alone, killed)]
    return [
        at_least("driver killed: times", kills, len(KILLS), ""),
        at_most("driver killed: candidates more or fewer than planned", abs(len(killed) - searches.TRIALS), 0, ""),
        at_most("driver killed: proposals more or fewer than planned", abs(proposed - searches.TRIALS), 0, ""),
        at_most("driver killed: finished candidates that were run again", again, 0, ""),
        at_most("driver killed: other candidates than when left alone", len(alone.keys() ^ killed.keys()), 0, ""),
        at_least("driver killed: candidates finished in both", len(both), searches.TRIALS // 2, ""),
        at_most("driver killed: of these with another quality or size", len(other), 0, ""),
        at_most("driver killed: members of one front alone", len(fronts[0] ^ fronts[1]), 0, ""),
    ]


def _kill_at(output: Path, count: int) -> bool:
    """Start the search and kill its driver once ``count`` candidates ended; return whether it still ran."""
    driver = searches.start("run", output)
    end = time.monotonic() + PATIENCE_S
    while len(searches.written(output)) < count and driver.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    alive = driver.poll() is None
    driver.kill()
    driver.wait()
    time.sleep(10)  # Ray notices that its driver is gone and ends the cluster's processes
    return alive


def _found(trial: Trial) -> tuple[float, int]:
    """Return what a seed settles: drop in points and kB. Times are measured.

    Not bytes: OpenVINO numbers a graph's operators on through the life of a process, so their names vary in length.
    """
    return round(trial.drop_points or 0.0, 6), round(trial.variant.size_bytes / 1000)


def _front(trials: dict[str, Trial]) -> set[str]:
    """Return the candidates that no other beats in quality and size."""
    places = {key: _found(trial) for key, trial in trials.items()}

    def beaten(one: tuple[float, int], by: Iterable[tuple[float, int]]) -> bool:
        return any(other != one and other[0] <= one[0] and other[1] <= one[1] for other in by)

    return {key for key, place in places.items() if not beaten(place, places.values())}
