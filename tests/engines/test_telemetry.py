"""No engine reports usage, and none writes into the user's home."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

AFTER = """
import openvino, openvino_telemetry
from bigray.engines import openvino as engine
sent = []
openvino_telemetry.main.TelemetrySender.send = lambda *a, **k: sent.append(a)
openvino.tools.ovc.telemetry.send_event("ov", "import", "x", force_send=True)
openvino_telemetry.Telemetry().send_event("a", "b", "c", force_send=True)
assert not sent, sent
"""
BEFORE = """
import pathlib, sys
from bigray import plugins
from tests import networks
for name in plugins.names("bigray.engines"):
    folder = pathlib.Path(sys.argv[1], name)
    folder.mkdir()
    engine = plugins.load("bigray.engines", name).ENGINE
    engine.export(networks.ffnn(), folder)
    if engine.available() is None:
        engine.load(folder, program=networks.ffnn).run(networks.words(1, 4))
import nncf
assert sys.modules["openvino_telemetry"] is None
"""


@pytest.mark.parametrize(("code", "ci"), [(AFTER, "true"), (BEFORE, "")], ids=["imported after", "imported before"])
def test_nothing_is_sent_and_nothing_written(code: str, ci: str, tmp_path: Path) -> None:
    # CI=true keeps the first case's own import of openvino, which bigray cannot prevent, from sending
    home = tmp_path / "home"
    home.mkdir()
    environment = {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "PATH": "/usr/bin:/bin", "CI": ci}
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=root,
    )
    assert done.returncode == 0, done.stderr
    assert [path for path in home.rglob("*") if path.is_file()] == []
