"""The load generator of the endpoint measures: what it counts is what was answered."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("uvloop")
pytest.importorskip("httptools")

from benchmarks import load


class Server(BaseHTTPRequestHandler):
    """Answers "good" after 20 ms, refuses "full" with Retry-After and "rude" without."""

    protocol_version = "HTTP/1.1"
    asked: list[str]

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["content-length"])))["inputs"]
        self.asked.append(said)
        time.sleep(0.02 if said == "good" else 0)
        self.send_response(200 if said == "good" else 503)
        self.send_header("content-length", "0")
        if said == "full":
            self.send_header("retry-after", "1")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    Server.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_closed_and_open_loop(url: str, tmp_path: Path) -> None:
    bodies = tmp_path / "bodies.jsonl"
    bodies.write_text("".join(json.dumps({"inputs": said}) + "\n" for said in ("good", "full", "good", "rude")))
    found = load.run(url, bodies, clients=2, seconds=1)
    assert found["sent"] == len(Server.asked) == sum(found["statuses"].values())
    assert found["statuses"]["200"] == Server.asked.count("good")
    assert found["refused_without_retry_after"] == Server.asked.count("rude")
    assert found["p50_ms"] >= 20
    Server.asked.clear()
    found = load.run(url, bodies, rate=40, seconds=1)
    assert found["sent"] == len(Server.asked) == 40
    assert found["statuses"] == {"200": 20, "503": 20}


def test_lost_connections_are_counted(tmp_path: Path) -> None:
    bodies = tmp_path / "bodies.jsonl"
    bodies.write_text("{}\n")
    assert load.run("http://127.0.0.1:9/", bodies, rate=10, seconds=0.5)["statuses"] == {str(load.LOST): 5}
