"""Is a bad canary rolled back by itself, with the reason and little harm, and a good one promoted?

A caller is harmed when it is not answered, is given a wrong label where the present version's is right, or waits more
than `SLOW` times as long as 95 of 100 waited before.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks import reviews, steady
from benchmarks.form import Bar, at_least, at_most
from benchmarks.served import MODEL, bigray, up
from bigray.client import Client

PER_S, SHARE = 30.0, 0.2
SLOW = 3.0
WITHIN_S, BEFORE_S = 240.0, 8.0
CANARY = f"ray::ServeReplica:_canary-{MODEL}:"
"""How Ray names the canary's process."""


def run(data: Path | None, work: Path) -> list[Bar]:
    os.environ["BIGRAY_STATE"] = str(work / "state")
    folder = work / "canary"
    trained = reviews.train()
    present = trained.write(folder / "present", trained.network)
    worse, slower = reviews.worse(trained), reviews.slower(trained, present)
    accuracy = {name: 100 * trained.accuracy(one) for name, one in (("present", trained.network), ("worse", worse))}
    print(f"accuracy: {accuracy}, slower: {len(slower.members)} networks in one", file=sys.stderr)  # type: ignore[arg-type]
    bad = {
        "loses 10 points": trained.write(folder / "worse", worse),
        "is 3x slower": trained.write(folder / "slower", slower),
        "fails on a third of texts": trained.write(folder / "failing", reviews.failing(trained)),
        "has its process killed": trained.write(folder / "killed", reviews.rounded(trained)),
        "does not load": reviews.broken(present, folder / "broken"),
    }
    good = trained.write(folder / "good", reviews.rounded(trained))
    ours = trained.labels(trained.network)
    texts = [row["text"] for row in trained.rows]
    lost = accuracy["present"] - accuracy["worse"]
    bars = [Bar("accuracy that the losing canary loses", lost, 10, 9 <= lost <= 11, "points")]
    with up(work) as url:
        bigray(work, "deploy", str(present), "--name", MODEL)
        with steady.traffic(f"{url}/models/{MODEL}", texts, PER_S) as seen:
            time.sleep(BEFORE_S)
            for what, artifact in bad.items():
                begun = time.monotonic()
                usual_s = _p95_s(seen.since(begun - BEFORE_S))
                end = _tried(work, url, artifact, _kill if "killed" in what else None)
                answers = seen.since(begun)
                harmed = sum(_harmed(answer, trained.rows, ours, SLOW * usual_s) for answer in answers)
                slow = sum(answer.took_s > SLOW * usual_s for answer in answers)
                failed = sum(answer.label is None for answer in answers)
                print(
                    f"canary that {what}: {end}\n  {time.monotonic() - begun:.0f} s, {len(answers)} requests, {failed} failed, "
                    f"{harmed} harmed of which {slow} slow (p95 before {1000 * usual_s:.0f} ms)",
                    file=sys.stderr,
                )
                bars += [
                    at_least(f"canary that {what}: rolled back", end.startswith("rolled back"), 1, ""),
                    at_most(f"canary that {what}: failed requests", failed, 0, ""),
                    at_most(f"canary that {what}: share harmed", 100 * harmed / len(answers), 100 * SHARE, "%"),
                ]
                time.sleep(BEFORE_S)
            begun = time.monotonic()
            end = _tried(work, url, good, None)
            print(f"good canary: {end}\n  {time.monotonic() - begun:.0f} s", file=sys.stderr)
            failed = sum(answer.label is None for answer in seen.since(begun))
    return [
        *bars,
        at_least("good canary: promoted", end.startswith("promoted"), 1, ""),
        at_most("good canary: failed requests", failed, 0, ""),
    ]


def _tried(work: Path, url: str, artifact: Path, meanwhile: Callable[[], None] | None) -> str:
    """Try a version until the service has decided; return what and why."""
    share, minutes = f"{SHARE:.0%}", str(WITHIN_S / 60)
    bigray(work, "deploy", str(artifact), "--name", MODEL, "--canary", share, "--within", minutes, check=False)
    until = time.monotonic() + WITHIN_S + 60
    with Client(url, timeout_s=10) as client:
        while (found := client.describe(MODEL)["rollout"])["canary"] and time.monotonic() < until:
            if meanwhile is not None:
                meanwhile()
            time.sleep(1)
    last = found["decisions"][-1]
    return "nothing was decided" if found["canary"] else f"{last['what']}: {last['reason']}"


def _kill() -> None:
    """End the canary's process at once, as the kernel does when memory is short."""
    for process in psutil.process_iter(["cmdline"]):
        if CANARY in " ".join(process.info["cmdline"] or ()):
            process.kill()


def _harmed(answer: steady.Answer, rows: list[dict[str, str]], ours: list[str], slow_s: float) -> bool:
    truth, own = rows[answer.row]["label"], ours[answer.row]
    return answer.label is None or (answer.label != truth and own == truth) or answer.took_s > slow_s


def _p95_s(answers: list[steady.Answer]) -> float:
    ordered = sorted(answer.took_s for answer in answers)
    return ordered[int(0.95 * (len(ordered) - 1))]
