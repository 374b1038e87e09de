"""One model answering HTTP: read, parse, batch, infer, render. No Ray here; `bigray.serve.app` wraps it.

::

    GET  /models/NAME                what is served: task, engine, compression steps, versions, process
    GET  /models/NAME/healthz        200 when a small inference came to an end lately
    GET  /models/NAME/openapi.json   every path, for machines
    .../models/NAME/people           who is enrolled, where a model recognises people; see bigray.serve.people
    POST /models/NAME                predict; also at the paths below /v1 and /v2, see bigray.serve.dialects

A replica verifies its artifact, loads it and runs it at several sizes before it is ready. Of the engines only
torch_eager imports torch.
"""

from __future__ import annotations

import asyncio
import ctypes
import dataclasses
import gc
import logging
import math
import os
import sys
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from bigray import front
from bigray.artifact import Artifact, Manifest
from bigray.errors import (
    BigrayError,
    DeadlineExceeded,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    RequestError,
    ServiceError,
)
from bigray.predictor import Predictor, open_artifact
from bigray.recipe import Serve
from bigray.schemas import RecognitionParameters, Wire
from bigray.serve import doors, limits, openapi
from bigray.serve.batcher import Answers, Batcher, Limits
from bigray.serve.canary import Split
from bigray.serve.deadline import seconds_left
from bigray.serve.dialects.base import About, Call, Dialect, Question
from bigray.serve.observe import Meter, NoMeter
from bigray.serve.people import People, belongs, described
from bigray.serve.problems import problem_response, request_id
from bigray.serve.versions import version_id

log = logging.getLogger("ray.serve")

INLINE_BYTES = 32 * 1024
"""Bodies up to this size are parsed on the event loop: handing them to a thread would take longer."""
HEALTH_AGE_S = 15.0
"""Age at which a good inference says nothing about health any more; Serve asks for one every 10 s."""


class Replica:
    """A loaded model behind `answer`; everything that takes time runs in threads."""

    def __init__(
        self,
        name: str,
        predictor: Predictor,
        manifest: Manifest,
        version: str,
        settings: Serve,
        meter: Meter | None = None,
        people: People | None = None,
    ) -> None:
        self.name = name
        self.predictor = predictor
        self.manifest = manifest
        self.version = version
        self.settings = settings
        self.contract = predictor.task.contract
        predictor.task.longest_s = settings.max_audio_s
        self.about = About(name, self.contract, manifest.engine, version, _seconds(manifest.created))
        self.batcher = Batcher(
            self._infer,
            predictor.task.item_bytes,
            max_size=settings.max_batch_size,
            wait_s=settings.batch_wait_ms / 1000,
            max_waiting=max(settings.max_queued_requests, limits.MAX_ITEMS),
            limits=Limits(settings.max_batch_bytes, settings.target_batch_ms),
            meter=meter,
        )
        self.split = Split(self.batcher.submit, predictor.task.agrees, meter)
        self.history: Callable[[], Awaitable[dict[str, Any] | None]] | None = None
        """Tells the versions of this model, where somebody keeps them."""
        self.front: front.Front | None = None
        """From among what this model was chosen, where the artifact tells."""
        self.people = people
        self._meter = meter or NoMeter()
        self._healthy_at = -math.inf
        self._health = asyncio.Lock()
        self._threads = ThreadPoolExecutor(max(1, math.ceil(settings.cpus)), thread_name_prefix="parse")
        self._started = time.time()

    @classmethod
    def open(cls, directory: str, name: str, settings: Serve, meter: Meter | None = None) -> Replica:
        """Verify and load an artifact, and warm it up.

        Raises:
            ArtifactError, ArtifactCorrupt, MissingPackage: As `bigray.predictor.open_artifact`.
        """
        predictor = open_artifact(directory, threads=max(1, int(settings.cpus)))
        manifest = Artifact.open(directory, verify=False).manifest
        version = version_id(directory)
        people = People(directory, version) if predictor.task.contract.parameters is RecognitionParameters else None
        replica = cls(name, predictor, manifest, version, settings, meter, people)
        replica.front = front.read(Path(directory))
        replica.warm_up()
        if meter is not None:
            replica.predictor = dataclasses.replace(
                predictor, seen=lambda batch: meter.amounts(predictor.task.amounts(batch))
            )
        return replica

    def warm_up(self) -> None:
        """Run single rows and full batches of several lengths: first runs compile, allocate and fill caches."""
        task = self.predictor.task
        sizes = (4, None, 100) if self.contract.field == "text" else (None,)
        for count in sorted({1, 2, self.settings.max_batch_size}):
            for size in sizes:
                self.predictor.predict(task.example(count, size))
        gc.collect()
        _give_memory_back()
        gc.freeze()  # what is loaded by now stays: the collector need not walk it again and again

    async def answer(self, request: Request) -> Response:
        """Answer one HTTP request. Never raises but for cancellation: what goes wrong becomes a problem document."""
        identity = request_id(request.headers.get("x-request-id"))
        path = request.url.path.removeprefix(request.scope.get("root_path", "")).rstrip("/")
        dialect = doors.below(path)
        began = time.monotonic()
        try:
            response = await self._route(request, path, dialect)
        except MethodNotAllowed as error:
            response = self._problem(error, identity, dialect, {"allow": self._allowed(path, dialect)})
        except BigrayError as error:
            response = self._problem(error, identity, dialect)
        except ClientDisconnect:
            response = self._problem(RequestError("The connection closed before the body ended."), identity, dialect)
        except Exception as error:
            _log_bug(error, identity)
            failure = ServiceError(f"The service failed on this request; its log has the details under {identity}.")
            response = self._problem(failure, identity, dialect)
        if request.method == "POST":
            speaks = dialect.name if dialect is not None else "none"
            self._meter.request(speaks, response.status_code, (time.monotonic() - began) * 1000)
        if "x-request-id" not in request.headers:  # Serve's proxy adds the header to every request, and to the response
            response.headers["x-request-id"] = identity
        return response

    async def check_health(self) -> None:
        """Run one small inference; raise when it fails or when an earlier one never ended."""
        limit_s = 2 * self.settings.timeout_s
        if self.batcher.busy_s > limit_s:
            raise RuntimeError(f"An inference has been running for {self.batcher.busy_s:.0f} s.")
        example = self.predictor.task.example(1)
        own = dataclasses.replace(self.predictor, seen=None)  # nobody asked for it, so it is not counted
        await asyncio.wait_for(asyncio.to_thread(own.predict, example), limit_s)
        self._healthy_at = time.monotonic()

    def describe(self) -> dict[str, Any]:
        """Return what is served and by which process."""
        manifest = self.manifest
        state = self.predictor.task.state.model_dump(mode="json")
        return {
            "id": self.name,
            "object": "model",
            "task": manifest.task,
            "engine": manifest.engine,
            "steps": [step.model_dump(mode="json") for step in manifest.steps],
            "labels": state.get("labels"),
            "thresholds": state.get("thresholds"),
            "version": self.version,
            "created": manifest.created,
            "metrics": manifest.metrics,
            "latency": manifest.latency,
            "size_bytes": manifest.size_bytes,
            "verdict": {key: manifest.verdict.get(key) for key in ("qualified", "reason")}
            if manifest.verdict
            else None,
            "front": self.front.model_dump(mode="json") if self.front else None,
            "limits": {
                "max_body_bytes": self.settings.max_body_bytes,
                "max_items": limits.MAX_ITEMS,
                "timeout_s": self.settings.timeout_s,
                **({"max_audio_s": self.settings.max_audio_s} if self.contract.field == "audio" else {}),
            },
            "process": {
                "pid": os.getpid(),
                "rss_bytes": _rss_bytes(),
                "uptime_s": round(time.time() - self._started, 1),
                "torch_imported": "torch" in sys.modules,
            },
        }

    async def _route(self, request: Request, path: str, dialect: Dialect | None) -> Response:
        reading = request.method in {"GET", "HEAD"}
        if path == "/healthz":
            if not reading:
                raise MethodNotAllowed("Use GET.")
            return await self._answer_health()
        if path == "/openapi.json":
            if not reading:
                raise MethodNotAllowed("Use GET.")
            own = described() if self.people is not None else {}
            return JSONResponse(openapi.document(self.about, doors.dialects(), f"{doors.PREFIX}{self.name}", own))
        if self.people is not None and belongs(path):
            return await self._enrolled(request, path, self.people)
        methods = dialect.methods(path, self.about) if dialect is not None else ()
        if dialect is None or not methods:
            raise NotFound(
                f"Model {self.name!r} has no such path. {doors.PREFIX}{self.name}/openapi.json lists its paths."
            )
        if ("GET" if reading else request.method) not in methods:
            raise MethodNotAllowed(f"This path answers {' and '.join(methods)}.")
        if reading:
            said = dialect.read(path, self.about)
            if said is not None:
                return Response(said.body, media_type=said.media_type)
            rollout = await self.history() if self.history is not None else None
            return JSONResponse({**self.describe(), "rollout": rollout})
        limit_s = seconds_left(request.headers, self.settings.timeout_s)
        try:
            async with asyncio.timeout(limit_s):
                return await self._predict(request, path, dialect, time.monotonic() + limit_s)
        except TimeoutError:
            raise DeadlineExceeded(
                f"No answer within {limit_s:.3g} s, the limit of this model or of the request. Send less, or try later.",
                retry_after_s=1,
            ) from None

    async def _answer_health(self) -> Response:
        """Say whether the model infers; an inference is run when the last one is too long ago, one for all who ask."""
        async with self._health:
            try:
                if time.monotonic() - self._healthy_at > HEALTH_AGE_S:
                    await self.check_health()
            except Exception as error:
                _log_bug(error, "health")
                raise Overloaded("The model does not infer; this replica is about to be replaced.") from None
        return JSONResponse({"status": "ok"})

    async def _predict(self, request: Request, path: str, dialect: Dialect, deadline: float) -> Response:
        with self.batcher.arriving():
            headers = request.headers
            limits.check_encoding(headers.get("content-encoding"))
            body = await limits.read_body(request.stream(), headers.get("content-length"), self.settings.max_body_bytes)
            question = Question(path, headers, body)
            if len(body) <= INLINE_BYTES:
                call = dialect.parse(question, self.about)
            else:
                loop = asyncio.get_running_loop()
                call = await loop.run_in_executor(self._threads, dialect.parse, question, self.about)
        parameters = call.parameters
        if self.people is not None:
            parameters = await asyncio.to_thread(self.people.filled_in, parameters)
        answers = await self.split.answer(call.rows, parameters, deadline)
        for index, answer in enumerate(answers):
            if isinstance(answer, Exception):
                raise _of_item(answer, index, call)
        reply = dialect.render(answers, call, self.about)
        return Response(reply.body, media_type=reply.media_type, headers=reply.headers)

    async def _enrolled(self, request: Request, path: str, people: People) -> Response:
        """Answer who is enrolled, enrol, or remove."""
        limit = self.settings.max_body_bytes
        body = await limits.read_body(request.stream(), request.headers.get("content-length"), limit)
        if request.method == "PUT":
            (one,) = await asyncio.to_thread(self.predictor.predict, self.predictor.task.example(1))
            return JSONResponse(await asyncio.to_thread(people.answer, "PUT", path, body, len(one.embedding)))
        return JSONResponse(await asyncio.to_thread(people.answer, request.method, path, body, 0))

    def _infer(self, rows: Sequence[dict[str, Any]], parameters: Wire | None) -> Answers:
        """Answer a batch. When it fails, find the rows that cannot be encoded, and run the others without them."""
        try:
            answers = self.predictor.predict(rows, parameters)
            return [self.contract.output.validate_python(answer) for answer in answers]
        except Exception as error:
            if len(rows) == 1:
                return [error]
        failures = [self._encoding_error(row) for row in rows]
        good = [row for row, failure in zip(rows, failures, strict=True) if failure is None]
        if len(good) == len(rows):  # encoding is not to blame
            return [answer for row in rows for answer in self._infer([row], parameters)]
        rest = iter(self._infer(good, parameters) if good else [])
        return [next(rest) if failure is None else failure for failure in failures]

    def _encoding_error(self, row: dict[str, Any]) -> Exception | None:
        try:
            for piece in self.predictor.task.split(row):
                self.predictor.task.encode([piece])
        except Exception as error:
            return error
        return None

    def _allowed(self, path: str, dialect: Dialect | None) -> str:
        methods = dialect.methods(path, self.about) if dialect is not None else ("GET",)
        return ", ".join(("GET, HEAD" if method == "GET" else method) for method in methods)

    def _problem(
        self, error: BigrayError, identity: str, dialect: Dialect | None, headers: dict[str, str] | None = None
    ) -> Response:
        extra = dict(headers or {})
        if error.status == 415 and dialect is not None:
            extra |= {"accept-post": dialect.accepts(self.contract), "accept-encoding": "identity"}
        return problem_response(error, identity, extra, dialect.problem(error, identity) if dialect else None)


def _of_item(error: Exception, index: int, call: Call) -> Exception:
    """Point an error of one row at its place in the request."""
    if not isinstance(error, BigrayError):
        return error
    pointer = f"/inputs/{index}" if call.many else "/inputs"
    return type(error)(error.detail, code=error.code, pointer=pointer, retry_after_s=error.retry_after_s)


def _log_bug(error: Exception, identity: str) -> None:
    # the frames and the kind, not the message: messages of foreign libraries may quote what was sent
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("request %s failed with %s\n%s", identity, type(error).__name__, frames)


def _seconds(created: str) -> int:
    try:
        return int(datetime.fromisoformat(created).timestamp())
    except ValueError:
        return 0


def _give_memory_back() -> None:
    """Return to the system what loading took and let go of; C libraries keep it otherwise."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc alone
    if trim is not None:
        trim(0)


def _rss_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
