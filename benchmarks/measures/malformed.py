"""Are 40 malformed requests and 20 malformed recipes answered with the exact code, a named field and no traceback?"""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from benchmarks.form import Bar, at_least, at_most

ROOT = Path(__file__).parent.parent.parent


def run(data: Path | None, work: Path) -> list[Bar]:
    requests, bad = _cases(["tests/serve/test_http.py", "-k", "malformed"], work)
    recipes, worse = _cases(["tests/test_recipe.py", "-k", "malformed"], work)
    return [
        at_least("malformed requests answered as promised", requests, 40, ""),
        at_least("malformed recipes refused as promised", recipes, 20, ""),
        at_most("malformed cases answered otherwise", bad + worse, 0, ""),
    ]


def _cases(arguments: list[str], work: Path) -> tuple[int, int]:
    report = work / "cases.xml"
    subprocess.run([sys.executable, "-m", "pytest", f"--junitxml={report}", *arguments], cwd=ROOT, check=False)
    suite = next(iter(ET.parse(report).getroot()))
    failed = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
    return int(suite.get("tests", 0)) - failed - int(suite.get("skipped", 0)), failed
