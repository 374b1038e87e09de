"""A Ray on this machine that outlives the command that started it: what `bigray up` starts and `bigray down` ends.

A process of our own holds it and waits. ``ray start`` would not do: it turns a loopback address into the machine's own,
and Ray then listens on every network interface. Ray's control plane wants a token, said outright since Ray's own
defaults differ by way of starting. What runs is noted in a file of the user, for the verbs that join it.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from bigray.errors import NotFound, ServiceError

START_TIMEOUT_S, STOP_TIMEOUT_S = 120.0, 30.0
MIN_LOGICAL_CPUS = 4
"""So that a model of one core finds room beside another one on a machine of two."""
TOKEN, LOG, READY = "token", "start.log", "ready.json"
"""Files in the folder of what runs: Ray's token, what was said while it started, and where it then was."""
SESSIONS = "ray"
"""Ray's own folder in it: Ray lets everybody write there, so it lies where nobody else may look."""


class Running(BaseModel):
    """What `bigray up` started."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    pid: int
    started: float
    """When that process was created, in seconds since 1970: tells it from a later one of the same pid."""
    address: str
    """Of Ray, ``host:port``."""
    dashboard: str
    """URL of the dashboard, which takes jobs as well."""
    folder: Path
    """Holds the token and Ray's session with its logs; gone after `stop`."""
    environment: dict[str, str] = {}
    """What processes of Ray found in their environment, and those that join it must find too."""
    service: str = ""
    """URL of the endpoints."""
    ingress: str = ""
    """What takes their requests in."""

    @property
    def token_file(self) -> Path:
        """File with Ray's token, for its owner only."""
        return self.folder / TOKEN

    def enter(self) -> None:
        """Have `bigray.cluster.cluster` join it in this process; only before Ray is imported."""
        os.environ.pop("RAY_AUTH_TOKEN", None)  # it would go before the file
        os.environ.update(self.environment, **_control_plane(self.folder), RAY_ADDRESS=self.address)


def state_file() -> Path:
    """Return where it is noted what runs."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "bigray" / "up.json"


def running() -> Running | None:
    """Return what runs, None when nothing does (any more)."""
    try:
        noted = Running.model_validate_json(state_file().read_bytes())
    except (OSError, ValidationError):
        return None
    return noted if _lives(noted) else None


def join(address: str | None = None) -> Running | None:
    """Have this process join what runs, unless it is told another address; before Ray is imported."""
    found = running() if address is None else None
    if found is not None:
        found.enter()
    return found


@contextmanager
def starting() -> Iterator[None]:
    """Hold back another `bigray up` of this user until this one is through."""
    file = state_file().with_suffix(".lock")
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def make_folder() -> Path:
    """Make the folder of what is to run, for its owner only."""
    base = os.environ.get("RAY_TMPDIR") or "/tmp"  # short: the path of a socket below it may have 107 bytes
    return Path(tempfile.mkdtemp(prefix="bigray-", dir=base))


def start(folder: Path, environment: Mapping[str, str], *, cpus: int | None = None) -> Running:
    """Start a Ray and return once it can be joined; nothing is served yet.

    Args:
        folder: As `make_folder` made it.
        environment: For every process of it, besides what this process has.
        cpus: Logical cores; by default as many as the machine has, and at least `MIN_LOGICAL_CPUS`.

    Raises:
        ServiceError: Ray did not start; the message has the last line it said.
    """
    with open(os.open(folder / TOKEN, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
        file.write(secrets.token_hex(32))
    own = {name: value for name, value in os.environ.items() if name not in {"RAY_AUTH_TOKEN", "RAY_ADDRESS"}}
    with (folder / LOG).open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bigray.background", str(folder), str(cpus or _cpus())],
            env={**own, **environment, **_control_plane(folder)},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in the terminal is not for it
        )
    found = _wait_until_ready(process, folder)
    created = psutil.Process(process.pid).create_time()
    noted = Running(pid=process.pid, started=created, folder=folder, environment=dict(environment), **found)
    note(noted)
    return noted


def note(noted: Running) -> None:
    """Write down what runs, whole or not at all."""
    file = state_file()
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = file.with_suffix(".new")
    new.write_text(noted.model_dump_json(indent=2), encoding="utf-8")
    new.replace(file)


def stop() -> Running:
    """Stop what `start` started, models included, and nothing else.

    Raises:
        NotFound: Nothing runs.
    """
    noted = running()
    if noted is None:
        state_file().unlink(missing_ok=True)
        raise NotFound("Nothing that `bigray up` started runs here.")
    whole = [psutil.Process(noted.pid)]
    whole += whole[0].children(recursive=True)  # Ray's own processes, and the replicas below them
    whole[0].terminate()  # it shuts Ray down before it ends
    _, left = psutil.wait_procs(whole, STOP_TIMEOUT_S)
    for process in left:
        process.kill()
    psutil.wait_procs(left, STOP_TIMEOUT_S)
    state_file().unlink(missing_ok=True)
    shutil.rmtree(noted.folder, ignore_errors=True)
    return noted


def keep(folder: Path, cpus: int) -> None:
    """Hold a Ray until a SIGTERM comes: what the process in the background does."""
    import ray

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    context = ray.init(
        address="local",
        num_cpus=cpus,
        include_dashboard=True,
        dashboard_host="127.0.0.1",
        log_to_driver=False,
        _node_ip_address="127.0.0.1",
        _temp_dir=str(folder / SESSIONS),
    )
    try:
        new = folder / f".{READY}"
        found = {"address": context.address_info["gcs_address"], "dashboard": f"http://{context.dashboard_url}"}
        new.write_text(json.dumps(found), encoding="utf-8")
        new.replace(folder / READY)
        while True:
            signal.pause()
    finally:
        ray.shutdown()


def _control_plane(folder: Path) -> dict[str, str]:
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / TOKEN),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # one machine only: Ray then keeps to the loopback address
        "RAY_worker_niceness": "0",  # proxies and replicas are the service; at Ray's 15 all else on the machine goes first
    }


def _cpus() -> int:
    return max(MIN_LOGICAL_CPUS, os.cpu_count() or 1)


def _wait_until_ready(process: subprocess.Popen[bytes], folder: Path) -> dict[str, str]:
    """Return the addresses of Ray and of its dashboard."""
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until and process.poll() is None:
        if (folder / READY).exists():
            found: dict[str, str] = json.loads((folder / READY).read_text(encoding="utf-8"))
            return found
        time.sleep(0.1)
    process.terminate()
    log = folder / LOG
    told = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise ServiceError(f"Ray did not start: {told[-1] if told else 'it said nothing'}. All it said is in {log}.")


def _lives(noted: Running) -> bool:
    try:
        process = psutil.Process(noted.pid)
        return bool(process.create_time() == noted.started and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


if __name__ == "__main__":
    keep(Path(sys.argv[1]), int(sys.argv[2]))
