"""A transformers pipeline in a FastAPI deployment of Ray Serve, as Serve's guide shows it: nothing is tuned, nothing batched.

    python -m benchmarks.peers.stock PORT FOLDER

At ``/roomy`` the same stands with ``max_ongoing_requests`` raised from Serve's 5, past which its router waits ever longer between
tries; at ``/empty`` a deployment that does nothing: more requests per second than it takes no model behind that proxy can answer.

FOLDER holds a model and tokenizer that ``transformers.pipeline`` reads. Source: https://docs.ray.io/en/latest/serve/index.html.
"""

import signal
import sys

import ray
from fastapi import FastAPI
from pydantic import BaseModel
from ray import serve

app = FastAPI()


class Body(BaseModel):
    """What is sent."""

    inputs: str


@serve.deployment
@serve.ingress(app)
class Classifier:
    """One replica of one core; Ray gives torch one thread."""

    def __init__(self, folder: str) -> None:
        from transformers import pipeline

        self._pipeline = pipeline("text-classification", model=folder, top_k=None)

    @app.post("/")
    def classify(self, body: Body) -> list:  # type: ignore[type-arg]
        """Answer one text."""
        return self._pipeline(body.inputs)  # type: ignore[no-any-return]


@serve.deployment(max_ongoing_requests=100)
class Empty:
    """Answers everything at once: what is left is the time of Serve's proxy."""

    async def __call__(self) -> str:
        """Return nothing much."""
        return "ok"


if __name__ == "__main__":
    port, folder = int(sys.argv[1]), sys.argv[2]
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(Classifier.bind(folder), name="stock", route_prefix="/")  # type: ignore[attr-defined]
    roomy = Classifier.options(max_ongoing_requests=100)  # type: ignore[attr-defined]
    serve.run(roomy.bind(folder), name="roomy", route_prefix="/roomy")
    serve.run(Empty.bind(), name="empty", route_prefix="/empty")  # type: ignore[attr-defined]
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
