"""Are 40 malformed requests and 20 malformed recipes answered with the exact code, a named field and no traceback?"""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from benchmarks.form import Bar, at_least, at_most
from tests.serve.cases import CASES

ROOT = Path(__file__).parent.parent.parent


def run(data: Path | None, work: Path) -> list[Bar]:
    # one test sends every case over HTTP and lists those answered otherwise than promised
    served, wrong = outcomes(["tests/serve/test_http.py", "-k", "malformed"], work)
    refused, worse = outcomes(["tests/test_recipe.py", "-k", "malformed"], work)
    return [
        at_least("malformed requests answered as promised", len(CASES) if served else 0, 40, ""),
        at_least("malformed recipes refused as promised", refused, 20, ""),
        at_most("tests of malformed cases that failed", wrong + worse, 0, ""),
    ]


def outcomes(arguments: list[str], work: Path, *, haproxy: bool = False) -> tuple[int, int]:
    """Return how many tests passed and failed, of a service behind Serve's own proxy or HAProxy where they ask one."""
    report = work / "cases.xml"
    environment = os.environ | {"BIGRAY_TEST_HAPROXY": "1" if haproxy else "0"}
    command = [sys.executable, "-m", "pytest", f"--junitxml={report}", *arguments]
    subprocess.run(command, cwd=ROOT, check=False, env=environment)
    suite = next(iter(ET.parse(report).getroot()))
    failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    return int(suite.get("tests", 0)) - failed - int(suite.get("skipped", 0)), failed
