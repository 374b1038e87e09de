"""HAProxy before the replicas: when, what is mended in its configuration, and what it says by itself."""

from __future__ import annotations

import os
import re
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from bigray.serve import ingress
from bigray.serve.listen import Listen

BY_SERVE = """\
global
    log 127.0.0.1:514 local0 info
    stats socket /tmp/x/ctl mode 600 level admin
    maxconn 100
# a remark
defaults
    mode http
    timeout connect 1s
    timeout client 5s
    timeout server 5s
    errorfile 502 /tmp/x/500.http
    errorfile 503 /tmp/x/500.http
    balance leastconn
frontend prometheus
    bind :9101
    http-request use-service prometheus-exporter if { path /metrics }
frontend http_frontend
    bind 127.0.0.1:8000
    acl is_http-texts path_beg /models/texts
    use_backend http-texts if is_http-texts
    default_backend http-texts
backend http-texts
    server SERVE_REPLICA_nobody 127.0.0.1:1 check
listen stats
  bind *:8404
  stats enable
"""


def test_when_it_can(tmp_path: Path) -> None:
    assert ingress.why_not(Listen()) is None
    assert ingress.why_not(Listen("localhost")) is None
    assert ingress.why_not(Listen("0.0.0.0", insecure=True)) == "other machines may ask"
    assert ingress.why_not(Listen(keys=tmp_path)) == "callers need keys"
    assert ingress.why_not(Listen(certfile=tmp_path, keyfile=tmp_path)) == "HTTPS"


def test_what_is_left_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "limits").mkdir()
    mended = ingress.mended(BY_SERVE, tmp_path)
    assert re.findall(r"bind (\S+)", mended) == ["127.0.0.1:8000"]
    assert not re.search(r"errorfile 50[234]", mended)
    assert str(tmp_path / "problems" / "503.json") in mended
    assert "514" not in mended
    assert ingress.mended(mended, tmp_path).count("bind") == 1
    assert [line for line in BY_SERVE.splitlines() if line.startswith(("global", "defaults", "backend"))] == [
        line for line in mended.splitlines() if line.startswith(("global", "defaults", "backend"))
    ]


def test_what_haproxy_says_by_itself(tmp_path: Path, free_port: int) -> None:
    """Started as Serve does it: no replica answers, and a request that is none."""
    environment = ingress.environment(tmp_path)
    config = tmp_path / "haproxy.cfg"
    config.write_text(BY_SERVE.replace("8000", str(free_port)).replace("/tmp/x", str(tmp_path)))
    script = environment["RAY_SERVE_HAPROXY_BINARY_PATH"]
    assert stat.S_IMODE(os.stat(script).st_mode) == 0o700
    process = subprocess.Popen([script, "-db", "-f", str(config)], env=os.environ | environment)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{free_port}", transport=httpx.HTTPTransport(retries=8)) as client:
            lost = client.get("/models/x", headers={"x-request-id": "mine-1"})
            nameless = client.get("/models/x", headers={"x-request-id": "a b"})
        for answer in (lost, nameless):
            assert answer.status_code == 503
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["retry-after"] == "1"
            assert answer.json()["code"] == "overloaded"
            assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert lost.headers["x-request-id"] == "mine-1"
        assert re.fullmatch(r"[0-9a-f-]{36}", nameless.headers["x-request-id"])
        assert raw(free_port, b"GET / HTTP/1.1\r\nno header\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    finally:
        process.terminate()
        process.wait()


def test_more_requests_than_a_replica_takes(tmp_path: Path, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is with the replica, which does not answer; the next one is refused at once, but not the question how it is."""
    environment = ingress.environment(tmp_path)
    monkeypatch.setenv(ingress.FOLDER, environment[ingress.FOLDER])
    ingress.limit("texts", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        config = tmp_path / "haproxy.cfg"
        replica = f"127.0.0.1:{silent.getsockname()[1]}"
        config.write_text(
            BY_SERVE.replace("127.0.0.1:1 check", replica)
            .replace("8000", str(free_port))
            .replace("/tmp/x", str(tmp_path))
            .replace("timeout server 5s", "timeout server 3s\n    timeout queue 2s")
        )
        script = environment["RAY_SERVE_HAPROXY_BINARY_PATH"]
        process = subprocess.Popen([script, "-db", "-f", str(config)], env=os.environ | environment)
        try:
            url = f"http://127.0.0.1:{free_port}/models/texts"
            with (
                httpx.Client(timeout=20, transport=httpx.HTTPTransport(retries=8)) as client,
                ThreadPoolExecutor(2) as pool,
            ):
                first = pool.submit(client.get, url)
                held, _ = silent.accept()
                assert held.recv(1)  # only with its first byte HAProxy has surely counted it
                refused = client.get(url)
                health = client.get(f"{url}/healthz")
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert refused.elapsed < health.elapsed / 2
                held.close()
                assert first.result().status_code == 502
                assert first.result().json()["code"] == "replica_lost"
        finally:
            process.terminate()
            process.wait()


def test_it_ends_with_the_process_that_started_it(tmp_path: Path, free_port: int) -> None:
    environment = ingress.environment(tmp_path)
    config = tmp_path / "haproxy.cfg"
    config.write_text(BY_SERVE.replace("8000", str(free_port)).replace("/tmp/x", str(tmp_path)))
    words = [environment["RAY_SERVE_HAPROXY_BINARY_PATH"], "-db", "-f", str(config)]
    code = f"import subprocess, sys, time; print(subprocess.Popen({words!r}).pid, flush=True); time.sleep(60)"
    parent = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | environment, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = psutil.Process(int(parent.stdout.readline()))
    httpx.Client(transport=httpx.HTTPTransport(retries=8)).get(f"http://127.0.0.1:{free_port}")
    parent.kill()
    parent.wait()
    child.wait(timeout=10)


def raw(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer
