"""Run a recipe on a cluster: submit, follow, stop and list jobs through the job API of its head.

::

    cluster = connect("http://127.0.0.1:8265")          a tunnel to the head, see cluster/*.yaml
    job_id = cluster.submit("recipe.yaml", ["output=/shared/runs"])
    for line in cluster.logs(job_id): print(line)       follows until the job ends
    cluster.wait(job_id).exit_code                      0, or what `bigray run` ended with

A job is the recipe with its small files (see `bigray.bundle`), this installation's bigray package, and the command
``bigray run``. The cluster must have bigray's dependencies installed (cluster/Dockerfile does). Every failure is a
`JobError` that says what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import shlex
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bigray
from bigray import bundle, head
from bigray.errors import JobError

ENTRYPOINT = "python -m bigray.cli.main run {recipe}"
AGENT_TIMEOUT_S = 60
"""How long a head that has just started may take to be able to run jobs."""
SETUP_TIMEOUT_S = 300
"""Longest time for unpacking files on a node; without a limit of its own Ray leaves such a job pending for ever."""
PENDING_TIMEOUT_S = 600.0
"""Longest wait for a job to start; a cluster that is just scaling up needs minutes."""
POLL_S = 0.5
FINISHED = frozenset({"SUCCEEDED", "FAILED", "STOPPED"})
_CHATTY = (
    "ray.dashboard.modules.dashboard_sdk",
    "ray.dashboard.modules.job.sdk",
    "ray._private.runtime_env.packaging",
)
"""Loggers of Ray that announce every upload and every closed connection."""


@dataclass(frozen=True)
class Job:
    """What the cluster knows about one job."""

    id: str
    status: str
    """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
    message: str
    """Ray's own words on the status; for a failed job the end of its log."""
    entrypoint: str
    submitted: str
    """UTC, ISO 8601; empty while unknown."""
    seconds: float | None
    """Run time, so far for a running job."""
    driver_code: int | None
    """Exit code of the process, negative for a signal; None until it has ended, or when it never ran."""

    @property
    def finished(self) -> bool:
        """Whether the status is final."""
        return self.status in FINISHED

    @property
    def exit_code(self) -> int:
        """Exit code for a shell: the job's own, 128 + signal, or 1 for a job that ended without one."""
        if self.driver_code is None:
            return 0 if self.status == "SUCCEEDED" else 1
        return self.driver_code if self.driver_code >= 0 else 128 - self.driver_code


def connect(address: str | None = None, token_file: str | Path | None = None) -> Cluster:
    """Reach the head of a cluster.

    Args:
        address: See `bigray.head.url`.
        token_file: See `bigray.head.headers`.

    Raises:
        JobError: Nothing answers there, it is no Ray head, or the token is missing or refused.
    """
    url = head.url(address)
    headers = head.headers(url, token_file)
    with head.explained(url), head.only_address():
        from ray.job_submission import JobSubmissionClient

        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
        return Cluster(url, JobSubmissionClient(url, headers=headers))


@dataclass(frozen=True)
class Cluster:
    """A reachable head."""

    address: str
    client: Any

    def submit(
        self,
        recipe: str | Path,
        overrides: Sequence[str] = (),
        *,
        job_id: str | None = None,
        send_package: bool = True,
        environment: Mapping[str, str] | None = None,
        entrypoint: str = ENTRYPOINT,
        setup_timeout_s: int = SETUP_TIMEOUT_S,
    ) -> str:
        """Send a recipe and start it; return the id of the job at once.

        Args:
            recipe: A YAML file. What may travel with it: `bigray.bundle`.
            overrides: ``a.b=value``, as for `bigray.recipe.read`.
            job_id: Its name; by default the recipe's, the time and a random end.
            send_package: Send this installation's bigray; False uses the one the cluster has.
            environment: Variables of the job. No secrets: whoever may list jobs can read them.
            entrypoint: Shell command with ``{recipe}`` where the file name goes.
            setup_timeout_s: Whole seconds for unpacking on a node.

        Raises:
            RecipeError: See `bigray.bundle.gather`.
            JobError: The id is taken, or the cluster refused the job.
        """
        with tempfile.TemporaryDirectory(prefix="bigray-job-") as folder:
            wanted, place = bundle.gather(recipe, Path(folder), overrides)
            if job_id is not None:
                self._check_free(job_id)
            stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
            with head.explained(self.address):
                return self._start(
                    entrypoint=entrypoint.format(recipe=shlex.quote(place)),
                    submission_id=job_id or f"{wanted.name}-{stamp}-{secrets.token_hex(3)}",
                    runtime_env=_runtime_env(folder, send_package, environment or {}, setup_timeout_s),
                    metadata={"bigray_recipe": wanted.name, "bigray_task": wanted.task},
                )

    def _start(self, **job: Any) -> str:
        # a head that has just come up answers before its agent does, and refuses with a 500 until then
        until = time.monotonic() + AGENT_TIMEOUT_S
        while True:
            try:
                return str(self.client.submit_job(**job))
            except RuntimeError as error:
                if "No available agent" not in str(error) or time.monotonic() > until:
                    raise
            time.sleep(1)

    def status(self, job_id: str) -> Job:
        """Return the present state of a job; `JobError` when there is none of this id."""
        with head.explained(self.address, job_id):
            return _job(self.client.get_job_info(job_id))

    def jobs(self) -> list[Job]:
        """Return all submitted jobs, the latest first."""
        with head.explained(self.address):
            listed = [_job(info) for info in self.client.list_jobs() if info.submission_id]
        return sorted(listed, key=lambda job: job.submitted, reverse=True)

    def logs(self, job_id: str, *, follow: bool = True, pending_timeout_s: float = PENDING_TIMEOUT_S) -> Iterator[str]:
        """Yield the job's output line by line; with ``follow`` until it ends, over lost connections.

        Raises:
            JobError: No such job, or it did not start within ``pending_timeout_s``.
        """
        if not follow:
            yield from self._whole_log(job_id)
            return
        self._await_start(job_id, pending_timeout_s)
        seen = 0
        while True:
            with contextlib.closing(self._tail(job_id)) as lines:
                for number, line in enumerate(lines):
                    if number >= seen:  # a new connection starts at the first line again
                        seen = number + 1
                        yield line
            if self._ends_soon(job_id):
                yield from self._whole_log(job_id)[seen:]  # the last lines of a short job may have been missed
                return

    def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """Wait for the end of a job and return its final state.

        Raises:
            JobError: No such job, or it is not over after ``timeout_s``.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while not (job := self.status(job_id)).finished:
            if deadline is not None and time.monotonic() > deadline:
                raise JobError(f"Job {job_id!r} is still {job.status} after {timeout_s:.0f} s. {job.message}".strip())
            time.sleep(POLL_S)
        return job

    def stop(self, job_id: str, timeout_s: float = 60.0) -> Job:
        """End a job and wait until it is over; a job that had ended is returned as it is.

        Raises:
            JobError: No such job, or it is not over after ``timeout_s``; Ray may not end a job that waits for resources.
        """
        job = self.status(job_id)
        if job.finished:
            return job
        with head.explained(self.address, job_id):
            self.client.stop_job(job_id)
        return self.wait(job_id, timeout_s)

    def _check_free(self, job_id: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", job_id):
            raise JobError(f"A job id is made of letters, digits, dot, underscore and dash; got {job_id!r}.")
        if job_id in {job.id for job in self.jobs()}:  # Ray would answer with a server error
            raise JobError(f"There is a job {job_id!r} on {self.address} already. Choose another id, or give none.")

    def _await_start(self, job_id: str, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while (job := self.status(job_id)).status == "PENDING":
            if time.monotonic() > deadline:
                raise JobError(
                    f"Job {job_id!r} has not started within {timeout_s:.0f} s: no node is free, or its files cannot be "
                    f"set up there. Ray says: {job.message} Wait with `bigray jobs logs {job_id}`, or give up with "
                    f"`bigray jobs stop {job_id}`."
                )
            time.sleep(POLL_S)

    def _tail(self, job_id: str) -> Generator[str]:
        """Yield whole lines over one connection; Ray sends chunks that end anywhere. A lost connection ends it."""
        rest = ""
        with asyncio.Runner() as runner, head.explained(self.address, job_id):
            chunks = self.client.tail_job_logs(job_id)
            try:
                while (chunk := runner.run(_next(chunks))) is not None:
                    *lines, rest = (rest + chunk).split("\n")
                    yield from lines
            except RuntimeError as error:
                if not str(error).startswith("WebSocket"):
                    raise
                rest = ""  # it comes whole over the next connection
            finally:
                runner.run(chunks.aclose())
        if rest:
            yield rest

    def _whole_log(self, job_id: str) -> list[str]:
        with head.explained(self.address, job_id):
            text = str(self.client.get_job_logs(job_id))
        return text.removesuffix("\n").split("\n") if text else []

    def _ends_soon(self, job_id: str) -> bool:
        # a log ends a moment before its job does; when the job goes on instead, the connection was lost
        for _ in range(10):
            if self.status(job_id).finished:
                return True
            time.sleep(POLL_S)
        return False


def _runtime_env(folder: str, send_package: bool, environment: Mapping[str, str], timeout_s: int) -> dict[str, Any]:
    env: dict[str, Any] = {
        "working_dir": folder,
        "config": {"setup_timeout_seconds": timeout_s},
        "env_vars": {"PYTHONUNBUFFERED": "1", "RAY_USAGE_STATS_ENABLED": "0", **environment},
    }
    if send_package:
        env["py_modules"] = [str(Path(bigray.__file__).parent)]
        env["excludes"] = ["__pycache__"]
    return env


async def _next(chunks: Any) -> str | None:
    chunk: str | None = await anext(chunks, None)
    return chunk


def _job(info: Any) -> Job:
    end_ms = info.end_time or time.time() * 1000
    return Job(
        id=str(info.submission_id or info.job_id),
        status=str(info.status),
        message=str(info.message or ""),
        entrypoint=str(info.entrypoint),
        submitted=datetime.fromtimestamp(info.start_time / 1000, UTC).isoformat(timespec="seconds")
        if info.start_time
        else "",
        seconds=max(0.0, end_ms - info.start_time) / 1000 if info.start_time else None,
        driver_code=info.driver_exit_code,
    )
