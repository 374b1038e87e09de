"""The asynchronous client; the same methods as `bigray.client.client.Client`, to be awaited.

::

    async with AsyncClient("http://127.0.0.1:8000") as client:
        labels = await client.text_classification("a fine film", model="reviews", top_k=1)
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence, Sized
from pathlib import Path
from typing import Any, Self, overload

import httpx

from bigray.client import _wire
from bigray.client._progress import Bar
from bigray.client._wire import Media
from bigray.errors import BigrayError
from bigray.schemas import Answer, Detection, Label, Recognition, Speech, Summary, Transcript, Translation


class AsyncClient:
    """Talks to a bigray service from one event loop.

    Args:
        base_url: Address of the service.
        api_key: Sent as a bearer token.
        timeout_s: Longest time for one call, attempts and waits together.
        retries: Attempts after the first, on lost connections and on 429, 502, 503 and 504; Retry-After is honoured.
            By default as many as ``timeout_s`` has room for, which outlasts the loss of a proxy.
        transport: Replaces the network, for tests.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retries: int | None = None,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.timeout_s = timeout_s
        self.retries = retries
        self._http = httpx.AsyncClient(
            base_url=base_url.rstrip("/"), headers=_wire.client_headers(api_key), transport=transport, timeout=timeout_s
        )
        self._chosen: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def models(self) -> list[dict[str, Any]]:
        """Return what is served: one entry per model, with ``id``, ``task``, ``engine`` and ``url``."""
        return _wire.read_models(await self._send(_wire.request("GET", "/models")))

    async def describe(self, model: str) -> dict[str, Any]:
        """Return everything known about one model: labels, compression steps, metrics, limits, process."""
        return _wire.read_object(await self._send(_wire.request("GET", _wire.model_path(model))))

    async def health(self, model: str | None = None) -> bool:
        """Say whether the service (or one model) answers; asks once."""
        path = "/healthz" if model is None else f"{_wire.model_path(model)}/healthz"
        try:
            return (await self._send(_wire.request("GET", path), once=True)).is_success
        except BigrayError:
            return False

    @overload
    async def text_classification(self, inputs: str, *, model: str | None = None, **parameters: Any) -> list[Label]: ...
    @overload
    async def text_classification(
        self, inputs: Sequence[str], *, model: str | None = None, **parameters: Any
    ) -> list[list[Label]]: ...
    async def text_classification(
        self, inputs: str | Sequence[str], *, model: str | None = None, **parameters: Any
    ) -> Any:
        """Classify a text, or each of several. Parameters: ``top_k``, ``function_to_apply``."""
        return await self.predict("text_classification", inputs, model=model, **parameters)

    @overload
    async def translation(self, inputs: str, *, model: str | None = None, **parameters: Any) -> Translation: ...
    @overload
    async def translation(
        self, inputs: Sequence[str], *, model: str | None = None, **parameters: Any
    ) -> list[Translation]: ...
    async def translation(self, inputs: str | Sequence[str], *, model: str | None = None, **parameters: Any) -> Any:
        """Translate a text, or each of several. Parameters: ``generate_parameters``, ``truncation``."""
        return await self.predict("translation", inputs, model=model, **parameters)

    @overload
    async def summarization(self, inputs: str, *, model: str | None = None, **parameters: Any) -> Summary: ...
    @overload
    async def summarization(
        self, inputs: Sequence[str], *, model: str | None = None, **parameters: Any
    ) -> list[Summary]: ...
    async def summarization(self, inputs: str | Sequence[str], *, model: str | None = None, **parameters: Any) -> Any:
        """Summarize a text, or each of several. Parameters: ``generate_parameters``, ``truncation``."""
        return await self.predict("summarization", inputs, model=model, **parameters)

    async def question_answering(
        self, question: str, context: str, *, model: str | None = None, **parameters: Any
    ) -> Answer | list[Answer]:
        """Find the stretch of a context that answers a question; with ``top_k`` over 1 a list, best first.

        Further parameters: ``max_answer_len``, ``handle_impossible_answer``, ``align_to_words``, ``doc_stride``,
        ``max_question_len``, ``max_seq_len``. Several questions: `predict` or `batch` with ``{"question", "context"}``.
        """
        inputs = {"question": question, "context": context}
        found: Answer | list[Answer] = await self.predict("question_answering", inputs, model=model, **parameters)
        return found

    @overload
    async def image_classification(
        self, inputs: Media, *, model: str | None = None, **parameters: Any
    ) -> list[Label]: ...
    @overload
    async def image_classification(
        self, inputs: Sequence[Media], *, model: str | None = None, **parameters: Any
    ) -> list[list[Label]]: ...
    async def image_classification(
        self, inputs: Media | Sequence[Media], *, model: str | None = None, **parameters: Any
    ) -> Any:
        """Classify an image (bytes or path), or each of several. Parameters: ``top_k``, ``function_to_apply``."""
        return await self.predict("image_classification", inputs, model=model, **parameters)

    @overload
    async def object_detection(
        self, inputs: Media, *, model: str | None = None, **parameters: Any
    ) -> list[Detection]: ...
    @overload
    async def object_detection(
        self, inputs: Sequence[Media], *, model: str | None = None, **parameters: Any
    ) -> list[list[Detection]]: ...
    async def object_detection(
        self, inputs: Media | Sequence[Media], *, model: str | None = None, **parameters: Any
    ) -> Any:
        """Find objects in an image (bytes or path), or in each of several. Parameters: ``threshold``."""
        return await self.predict("object_detection", inputs, model=model, **parameters)

    @overload
    async def automatic_speech_recognition(
        self, inputs: Media, *, model: str | None = None, **parameters: Any
    ) -> Transcript: ...
    @overload
    async def automatic_speech_recognition(
        self, inputs: Sequence[Media], *, model: str | None = None, **parameters: Any
    ) -> list[Transcript]: ...
    async def automatic_speech_recognition(
        self, inputs: Media | Sequence[Media], *, model: str | None = None, **parameters: Any
    ) -> Any:
        """Write down what is said in a sound file (bytes or path), or in each of several. Parameters: ``return_timestamps``."""
        return await self.predict("automatic_speech_recognition", inputs, model=model, **parameters)

    @overload
    async def text_to_speech(self, inputs: str, *, model: str | None = None, **parameters: Any) -> Speech: ...
    @overload
    async def text_to_speech(
        self, inputs: Sequence[str], *, model: str | None = None, **parameters: Any
    ) -> list[Speech]: ...
    async def text_to_speech(self, inputs: str | Sequence[str], *, model: str | None = None, **parameters: Any) -> Any:
        """Speak a text, or each of several; ``audio`` is a WAV file. Parameters: ``speed``, ``vocoder_rounds``."""
        return await self.predict("text_to_speech", inputs, model=model, **parameters)

    @overload
    async def speaker_recognition(
        self, inputs: Media, *, model: str | None = None, **parameters: Any
    ) -> Recognition: ...
    @overload
    async def speaker_recognition(
        self, inputs: Sequence[Media], *, model: str | None = None, **parameters: Any
    ) -> list[Recognition]: ...
    async def speaker_recognition(
        self, inputs: Media | Sequence[Media], *, model: str | None = None, **parameters: Any
    ) -> Any:
        """Turn a voice in a sound file (bytes or path), or each of several, into a vector; compare it with those sent along.

        Parameters: ``reference`` (verify), ``gallery`` (identify), ``false_accept_rate``, ``threshold``, ``top_k``.
        `bigray.Gallery` keeps the vectors of enrolled people.
        """
        return await self.predict("speaker_recognition", inputs, model=model, **parameters)

    @overload
    async def face_recognition(self, inputs: Media, *, model: str | None = None, **parameters: Any) -> Recognition: ...
    @overload
    async def face_recognition(
        self, inputs: Sequence[Media], *, model: str | None = None, **parameters: Any
    ) -> list[Recognition]: ...
    async def face_recognition(
        self, inputs: Media | Sequence[Media], *, model: str | None = None, **parameters: Any
    ) -> Any:
        """Turn a face in an image (bytes or path), or each of several, into a vector; compare it with those sent along.

        Parameters: ``reference`` (verify), ``gallery`` (identify), ``false_accept_rate``, ``threshold``, ``top_k``.
        `bigray.Gallery` keeps the vectors of enrolled people.
        """
        return await self.predict("face_recognition", inputs, model=model, **parameters)

    async def predict(
        self, task: str, inputs: Any, *, model: str | None = None, timeout_s: float | None = None, **parameters: Any
    ) -> Any:
        """Ask a model of any task; the methods above are this with types.

        ``timeout_s`` replaces the client's own for this call, here and in those methods.
        """
        asked = _wire.question(task, inputs, parameters)
        response = await self._send(asked.request(model or await self._choose(task)), timeout_s)
        return asked.read(response.content)

    async def batch(
        self,
        task: str,
        inputs: Iterable[Any],
        *,
        model: str | None = None,
        concurrency: int = 8,
        on_progress: Callable[[int], None] | None = None,
        progress: bool = False,
        timeout_s: float | None = None,
        **parameters: Any,
    ) -> list[Any]:
        """Answer many inputs, ``concurrency`` requests at a time, in order.

        An input that fails does not stop the others: its `BigrayError` stands in its place. Inputs are taken as they are
        needed, so they may be more than memory holds. ``on_progress`` is told the number of inputs done; ``progress``
        draws a bar on stderr. ``timeout_s`` is for each input.
        """
        model = model or await self._choose(task)
        answers: dict[int, Any] = {}
        failed = 0
        bar = Bar(len(inputs) if isinstance(inputs, Sized) else None) if progress else None
        queue = iter(enumerate(inputs))

        async def work() -> None:
            nonlocal failed
            for index, item in queue:
                try:
                    answers[index] = await self.predict(task, item, model=model, timeout_s=timeout_s, **parameters)
                except BigrayError as error:
                    answers[index] = error
                    failed += 1
                if on_progress is not None:
                    on_progress(len(answers))
                if bar is not None:
                    bar(len(answers), failed)

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(concurrency):
                    tasks.create_task(work())
        except BaseExceptionGroup as group:  # an error of the iterator, or a bug: as it came
            raise group.exceptions[0] from None
        finally:
            if bar is not None:
                bar.close()
        return [answers[index] for index in range(len(answers))]

    async def _choose(self, task: str) -> str:
        if task not in self._chosen:
            self._chosen[task] = _wire.only_model(task, await self.models())
        return self._chosen[task]

    async def _send(
        self, request: _wire.Request, timeout_s: float | None = None, *, once: bool = False
    ) -> httpx.Response:
        timeout_s = self.timeout_s if timeout_s is None else timeout_s
        until = time.monotonic() + timeout_s
        for attempt in itertools.count(1):
            response = None
            left_s = max(0.001, until - time.monotonic())
            try:
                response = await self._http.request(
                    request.method,
                    request.path,
                    content=_content(request),
                    headers=request.headers_for(left_s),
                    timeout=left_s,
                )
            except httpx.TransportError as lost:
                error = _wire.transport_failure(lost, request, timeout_s)
            else:
                failed = _wire.failure(response, request)
                if failed is None:
                    return response
                error = failed
            wait_s = _wire.wait_s(error, response, attempt)
            over = once or (self.retries is not None and attempt > self.retries)
            if wait_s is None or over or time.monotonic() + wait_s >= until:
                raise error
            await asyncio.sleep(wait_s)
        raise AssertionError("unreachable: attempts end with a return or an error")


def _content(request: _wire.Request) -> bytes | AsyncIterator[bytes] | None:
    return _pieces(request.content) if isinstance(request.content, Path) else request.content


async def _pieces(path: Path) -> AsyncIterator[bytes]:
    for piece in _wire.pieces(path):
        yield piece
