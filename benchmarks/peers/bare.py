"""A bigray artifact called straight from FastAPI on uvicorn, with a batching loop as one writes it by hand.

    python -m benchmarks.peers.bare PORT ARTIFACT

No limits, no checks, no deadlines, no metrics: what is left of an endpoint when only speed counts.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from bigray.predictor import open_artifact

MAX_BATCH, WAIT_S = 16, 0.002
predictor = open_artifact(sys.argv[2], threads=1)
queue: asyncio.Queue[tuple[str, asyncio.Future[Any]]] = asyncio.Queue()


async def batches() -> None:
    """Answer what waits, up to 16 texts at a time."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as thread:
        while True:
            batch = [await queue.get()]
            until = loop.time() + WAIT_S
            while len(batch) < MAX_BATCH and (left := until - loop.time()) > 0:
                try:
                    batch.append(await asyncio.wait_for(queue.get(), left))
                except TimeoutError:
                    break
            rows = [{"text": text} for text, _ in batch]
            answers = await loop.run_in_executor(thread, predictor.predict, rows)
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result([label.model_dump() for label in answer])


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Run the loop beside the server."""
    worker = asyncio.create_task(batches())
    yield
    worker.cancel()


app = FastAPI(lifespan=lifespan)


class Body(BaseModel):
    """What is sent."""

    inputs: str


@app.post("/")
async def classify(body: Body) -> list[dict[str, Any]]:
    """Answer one text."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    queue.put_nowait((body.inputs, future))
    found: list[dict[str, Any]] = await future
    return found


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False)
