"""Jobs on a real head with token authentication, started for this file alone."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from bigray import head, jobs
from bigray.cli import jobs as jobs_cli
from bigray.cli import main
from bigray.errors import JobError

pytestmark = pytest.mark.cluster


@dataclass(frozen=True)
class Head:
    url: str
    token: str
    token_file: Path


@pytest.fixture(scope="module")
def ray_head() -> Iterator[Head]:
    """A head of its own: it ends when its standard input is closed, also when this process is killed."""
    folder = Path(tempfile.mkdtemp(prefix="j", dir="/tmp"))  # short: a unix socket's path may have 107 bytes
    (folder / "token").write_text(token := secrets.token_hex(16))
    gcs, dashboard, agent = free_ports(3)
    environment = {
        **os.environ,
        "HOME": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": token,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    environment.pop("RAY_ADDRESS", None)
    # not ray.init: the agent that starts jobs would want the port that this run's shared cluster has taken
    options = {
        "node-ip-address": "127.0.0.1",
        "port": gcs,
        "dashboard-host": "127.0.0.1",
        "dashboard-port": dashboard,
        "dashboard-agent-listen-port": agent,
        "temp-dir": folder,
        "num-cpus": 2,
        "object-store-memory": 128 * 2**20,
    }
    command = ["ray", "start", "--head", "--block", *(f"--{name}={value}" for name, value in options.items())]
    url = f"http://127.0.0.1:{dashboard}"
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        executable=shutil.which("ray", path=environment["PATH"]),
    ) as process:
        try:
            until_up(url, process)
            yield Head(url, token, folder / "token")
        finally:
            process.terminate()
            process.wait(60)
            shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def until_up(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            httpx.get(f"{url}/api/authentication_mode", timeout=2).raise_for_status()
            return
        except httpx.HTTPError:
            time.sleep(0.5)
    pytest.fail(f"The head did not come up: {process.poll()}")


@pytest.fixture(scope="module")
def cluster(ray_head: Head) -> jobs.Cluster:
    return jobs.connect(ray_head.url, ray_head.token_file)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text("text,label\ngood,yes\nbad,no\n")
    path = tmp_path / "tiny.yaml"
    path.write_text("name: tiny\ntask: text_classification\noutput: /nowhere/runs\ndata: {train: data/train.csv}\n")
    return path


def python(code: str) -> str:
    """An entrypoint in place of `bigray run`, with the recipe's name as its argument."""
    return f'python -c "{code}" {{recipe}}'


def own(lines: Iterable[str]) -> list[str]:
    """A job's own output, without the lines that Ray writes somewhere into it."""
    return [line for line in lines if not re.search(r"^Running entrypoint for job|job_manager\.py", line)]


def test_a_job_gets_recipe_data_and_package_and_passes_its_exit_code(cluster: jobs.Cluster, recipe: Path) -> None:
    code = (
        "import sys, bigray, bigray.recipe as r; p = r.read(sys.argv[1]); print(bigray.__file__);"
        "print(p.train.epochs, len(open(p.data.train).readlines())); print('no end', end=''); sys.exit(3)"
    )
    job_id = cluster.submit(recipe, ["train.epochs=7"], entrypoint=python(code))
    assert job_id.startswith("tiny-")
    lines = own(cluster.logs(job_id))
    assert lines[1:] == ["7 3", "no end"]
    assert "runtime_resources" in lines[0]  # the package that was sent, not the one installed here
    job = cluster.wait(job_id, 30)
    assert (job.status, job.driver_code, job.exit_code) == ("FAILED", 3, 3)
    assert own(cluster.logs(job_id, follow=False)) == lines


def test_success_is_listed_first(cluster: jobs.Cluster, recipe: Path) -> None:
    job_id = cluster.submit(recipe, job_id="first.of-all_1", entrypoint="echo {recipe}")
    assert job_id == "first.of-all_1"
    assert own(cluster.logs(job_id)) == ["recipe.yaml"]
    job = cluster.wait(job_id, 30)
    assert (job.status, job.exit_code) == ("SUCCEEDED", 0)
    assert cluster.jobs()[0] == job
    with pytest.raises(JobError, match=r"job 'first.of-all_1' on .* already"):
        cluster.submit(recipe, job_id=job_id, entrypoint="true")
    assert cluster.stop(job_id) == job


def test_stop(cluster: jobs.Cluster, recipe: Path) -> None:
    job_id = cluster.submit(recipe, entrypoint="echo begun && sleep 300")
    lines = cluster.logs(job_id)
    while next(lines) != "begun":
        pass
    assert cluster.status(job_id).status == "RUNNING"
    assert cluster.stop(job_id).status == "STOPPED"
    assert own(lines) == []
    assert cluster.status(job_id).exit_code != 0


def test_command_line_submits_follows_and_leaves_with_the_jobs_exit_code(
    ray_head: Head, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", ray_head.url)
    monkeypatch.setenv("RAY_AUTH_TOKEN", ray_head.token)
    run = CliRunner()
    mistake = ["--set", "compress.engines=[openvno]"]  # one that only the job itself finds
    followed = run.invoke(main.app, ["submit", str(recipe), "--output", "/elsewhere", "--id", "wrong", *mistake])
    assert followed.exit_code == 2
    assert "Did you mean 'openvino'" in followed.stdout
    assert "Job wrong on" in followed.stderr
    assert "wrong: FAILED" in followed.stderr
    again = run.invoke(jobs_cli.app, ["logs", "wrong", "--no-follow"])
    assert (again.exit_code, own(again.stdout.splitlines())) == (0, own(followed.stdout.splitlines()))
    listed = run.invoke(jobs_cli.app, ["list", "--json"])
    assert "wrong" in [job["id"] for job in json.loads(listed.stdout)]
    shown = run.invoke(jobs_cli.app, ["status", "wrong", "--json"])
    assert json.loads(shown.stdout)["exit_code"] == 2


def test_unknown_jobs(cluster: jobs.Cluster) -> None:
    for call in (cluster.status, cluster.stop, cluster.wait, lambda job_id: list(cluster.logs(job_id))):
        with pytest.raises(JobError, match=r"no job 'nope' .*jobs list"):
            call("nope")
    with pytest.raises(JobError, match="no job 'a/b'"):
        cluster.status("a/b")


def test_a_job_that_cannot_start_is_given_up(cluster: jobs.Cluster, recipe: Path) -> None:
    job_id = cluster.submit(recipe, entrypoint="true")
    with pytest.raises(JobError, match="has not started within -1 s"):
        list(cluster.logs(job_id, pending_timeout_s=-1))
    assert cluster.wait(job_id, 30).exit_code == 0


def test_token(ray_head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(JobError, match=r"wants a token.*RAY_AUTH_TOKEN.*--token-file"):
        jobs.connect(ray_head.url)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "wrong")
    with pytest.raises(JobError, match="refused the token"):
        jobs.connect(ray_head.url)
    jobs.connect(ray_head.url, ray_head.token_file)  # the file goes before the environment
    monkeypatch.setenv("RAY_AUTH_TOKEN", ray_head.token)
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:1")  # what is asked for goes before this
    jobs.connect(ray_head.url.removeprefix("http://"))
    (tmp_path / "broken").write_text("two words")
    with pytest.raises(JobError, match="holds no token"):
        jobs.connect(ray_head.url, tmp_path / "broken")


def test_no_cluster_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    with pytest.raises(JobError, match=r"No Ray cluster answers at http://127.0.0.1:1 .*ssh -L"):
        jobs.connect("127.0.0.1:1")
    with pytest.raises(JobError, match="not the URL of a dashboard"):
        jobs.connect("ray://127.0.0.1:10001")
    assert head.url(None) == head.DEFAULT_ADDRESS


class Answers(BaseHTTPRequestHandler):
    """A web server that is no Ray head, but says under /open what one without authentication says."""

    def do_GET(self) -> None:
        body = b'{"authentication_mode": "disabled"}' if self.path.startswith("/open") else b"<html>"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_the_token_goes_only_to_heads_that_want_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert head.headers(f"{url}/open") == {}
        with pytest.raises(JobError, match="not as the head of a Ray cluster"):
            head.headers(url)
        server.shutdown()
