"""`bigray up` and `bigray down`: what is noted, what is refused, and (slow) the whole way with real processes."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bigray import background
from bigray.background import Running
from bigray.errors import NotFound, ServiceError, Unauthorized


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "bigray" / "up.json"


def note(process: psutil.Process, folder: Path, **fields: object) -> None:
    own = {"pid": process.pid, "started": process.create_time(), "address": "127.0.0.1:1", "dashboard": "x"}
    background.note(Running.model_validate(own | {"folder": folder} | fields))


def test_what_runs(state: Path, tmp_path: Path) -> None:
    assert background.running() is None
    note(psutil.Process(), tmp_path)
    found = background.running()
    assert found is not None
    assert found.pid == os.getpid()
    assert stat.S_IMODE(state.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("fields", [{"started": 1.0}, {"pid": 2**22 - 1}])
def test_what_runs_no_more_is_left_alone(state: Path, tmp_path: Path, fields: dict[str, float]) -> None:
    note(psutil.Process(), tmp_path, **fields)
    assert background.running() is None
    with pytest.raises(NotFound, match="bigray up"):
        background.stop()
    assert not state.exists()
    assert tmp_path.exists()


def test_a_broken_note_is_none(state: Path) -> None:
    state.parent.mkdir(parents=True)
    state.write_text("{")
    assert background.running() is None


def test_stop_ends_the_whole_family_and_nobody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "STOP_TIMEOUT_S", 0.5)
    folder = tmp_path / "session"
    folder.mkdir()
    command = [sys.executable, "-c", "import subprocess; subprocess.Popen(['sleep', '60']).wait()"]
    ours, other = subprocess.Popen(command), subprocess.Popen(["sleep", "60"])
    try:
        note(psutil.Process(ours.pid), folder)
        while not (children := psutil.Process(ours.pid).children()):
            pass
        background.stop()
        assert not any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children)
        assert background.running() is None
        assert not folder.exists()
        assert other.poll() is None
    finally:
        for process in (ours, other):
            process.kill()
            process.wait()


def test_joining_sends_this_token_and_no_other(tmp_path: Path) -> None:
    code = (
        "import os, sys; from bigray.background import running; running().enter(); "
        "print(os.environ.get('RAY_AUTH_TOKEN'), os.environ['RAY_AUTH_TOKEN_PATH'], os.environ['RAY_AUTH_MODE'],"
        " os.environ['RAY_ADDRESS'], 'ray' in sys.modules)"
    )
    note(psutil.Process(), tmp_path)
    told = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"RAY_AUTH_TOKEN": "x"}, capture_output=True, text=True
    )
    assert told.stdout.split() == ["None", str(tmp_path / "token"), "token", "127.0.0.1:1", "False"], told.stderr


def test_a_start_that_fails_says_why(tmp_path: Path) -> None:
    (tmp_path / background.LOG).write_text("first\nno room left\n")
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    process.wait()
    with pytest.raises(ServiceError, match="no room left"):
        background._wait_until_ready(process, tmp_path)


def listeners(pid: int) -> set[str]:
    """Addresses on which a process and those below it listen, as ``ss`` shows them."""
    pids = {process.pid for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))}
    shown = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    own = [line.split() for line in shown.splitlines() if pids & set(map(int, re.findall(r"pid=(\d+)", line)))]
    return {fields[3].rpartition(":")[0] for fields in own}


@pytest.mark.parametrize(
    "through", ["HAProxy", pytest.param("Serve's own proxy: callers need keys", marks=pytest.mark.slow)]
)
def test_up_deploy_ask_down(tmp_path: Path, through: str) -> None:
    from bigray.client import Client
    from bigray.serve.auth import create_key
    from tests.serve.conftest import make_artifact

    artifact = make_artifact("text_classification", tmp_path / "artifact")
    _, key = create_key(tmp_path / "keys.json", "test")
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}

    def bigray(*words: str) -> str:
        command = [sys.executable, "-m", "bigray.cli.main", *words]
        told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert told.returncode == 0, told.stdout + told.stderr
        return told.stdout

    port = 8127
    url = f"http://127.0.0.1:{port}"
    locked = through != "HAProxy"
    try:
        shown = bigray("up", "--port", str(port), *(["--keys", str(tmp_path / "keys.json")] if locked else []))
        assert f"endpoints  {url}  (through {through})" in shown
        assert "runs already" in bigray("up")
        assert bigray("deploy", str(artifact), "--name", "texts") == f"serving {url}/models/texts\n"
        noted = background.running()
        assert noted is not None
        assert stat.S_IMODE(noted.token_file.stat().st_mode) == 0o600
        assert listeners(noted.pid) <= {"127.0.0.1", "[::ffff:127.0.0.1]"}, "other machines can reach something"
        with Client(url, api_key=key if locked else None) as client:
            assert len(client.text_classification("a good film", model="texts")) == 3
            assert [model["id"] for model in client.models()] == ["texts"]
        if not locked:  # several calls of one process, as a canary and its end need them
            another = make_artifact("text_classification", tmp_path / "another")
            assert "answers 10%" in bigray("deploy", str(another), "--name", "texts", "--canary", "10%")
            assert bigray("rollback", "texts").endswith(" answers\n")
        if locked:
            with Client(url) as stranger, pytest.raises(Unauthorized):
                stranger.text_classification("a good film", model="texts")
        family = psutil.Process(noted.pid).children(recursive=True)
        assert bigray("down") == f"stopped {url}\n"
        assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)
        assert not noted.folder.exists()
    finally:
        if background.running() is not None:
            background.stop()
