"""A bigray artifact in LitServe, with its own batching on: up to 16 texts, waiting up to 2 ms for them, one worker.

    python -m benchmarks.peers.lit PORT ARTIFACT

Source: https://lightning.ai/docs/litserve.
"""

import sys
from typing import Any

import litserve

from bigray.predictor import open_artifact

MAX_BATCH, WAIT_S = 16, 0.002


class Classifier(litserve.LitAPI):
    """LitServe calls these in its worker process."""

    def __init__(self, folder: str) -> None:
        super().__init__(max_batch_size=MAX_BATCH, batch_timeout=WAIT_S)
        self._folder = folder

    def setup(self, device: str) -> None:
        """Load the artifact."""
        self._predictor = open_artifact(self._folder, threads=1)

    def decode_request(self, request) -> str:  # type: ignore[no-untyped-def]  # LitServe reads the annotation
        """Take the text out of the body."""
        return str(request["inputs"])

    def batch(self, inputs: list[str]) -> list[dict[str, str]]:
        """Texts as rows."""
        return [{"text": text} for text in inputs]

    def predict(self, batch: list[dict[str, str]]) -> list[Any]:
        """Answer a batch."""
        return self._predictor.predict(batch)

    def unbatch(self, output: list[Any]) -> list[Any]:
        """One answer per text."""
        return output

    def encode_response(self, output: Any) -> list[dict[str, Any]]:
        """Labels as plain data."""
        return [label.model_dump() for label in output]


if __name__ == "__main__":
    server = litserve.LitServer(Classifier(sys.argv[2]), accelerator="cpu", workers_per_device=1, timeout=30)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
