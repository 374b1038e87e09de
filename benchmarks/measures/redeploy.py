"""Is any request lost when a model is redeployed good, broken and good again, at 20 requests a second for 2 minutes?"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from benchmarks import reviews, steady
from benchmarks.form import Bar, at_least, at_most
from benchmarks.served import MODEL, bigray, up

PER_S, SECONDS = 20.0, 120.0


def run(data: Path | None, work: Path) -> list[Bar]:
    os.environ["BIGRAY_STATE"] = str(work / "state")
    trained = reviews.train()
    first = trained.write(work / "redeploy" / "first", trained.network)
    second = trained.write(work / "redeploy" / "second", reviews.rounded(trained))
    broken = reviews.broken(first, work / "redeploy" / "broken")
    texts = [row["text"] for row in trained.rows]
    with up(work) as url:
        bigray(work, "deploy", str(first), "--name", MODEL)
        with steady.traffic(f"{url}/models/{MODEL}", texts, PER_S) as seen:
            begun, refused = time.monotonic(), 0
            for pause_s, folder in ((10.0, second), (5.0, broken), (5.0, first)):
                time.sleep(pause_s)
                at = time.monotonic()
                code = bigray(work, "deploy", str(folder), "--name", MODEL, check=False).returncode
                refused += code != 0
                print(f"{folder.name}: exit code {code} after {time.monotonic() - at:.1f} s", file=sys.stderr)
            time.sleep(max(0.0, begun + SECONDS - time.monotonic()))
    failed = [answer for answer in seen.answers if answer.label is None]
    for answer in failed[:5]:
        print(f"failed: {answer.trouble}", file=sys.stderr)
    return [
        at_least("requests sent in all", seen.asked, PER_S * SECONDS * 0.95, ""),
        at_most("failed requests while redeployed good, broken, good", len(failed), 0, ""),
        at_most(
            "requests not answered exactly once, with their id",
            seen.asked - sum(answer.echoed for answer in seen.answers),
            0,
            "",
        ),
        at_least("broken version refused, with the one before going on", refused, 1, ""),
        at_most("slowest answer", max(answer.took_s for answer in seen.answers), 20.0, "s"),
    ]
