"""`bigray predict`: ask a model on disk, or one that is served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def command(
    model: Annotated[
        str, typer.Argument(metavar="ARTIFACT_OR_URL", help="Folder of an artifact, or URL of a served model.")
    ],
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help="Texts, or paths of images or sound files.")],
    api_key: Annotated[
        str | None, typer.Option(envvar="BIGRAY_API_KEY", help="Key, where the service wants one.")
    ] = None,
) -> None:
    """Print one JSON answer per input.

    Example:  bigray predict runs/reviews/artifact "a fine film" "two hours lost"

    Example:  bigray predict http://127.0.0.1:8000/models/digits seven.png
    """
    answers = _served(model, inputs, api_key) if model.startswith(("http://", "https://")) else _local(model, inputs)
    for answer in answers:
        print(json.dumps(answer, ensure_ascii=False))


def _local(folder: str, inputs: list[str]) -> list[Any]:
    from bigray.predictor import open_artifact
    from bigray.tasks.base import Row

    predictor = open_artifact(folder)
    contract = predictor.task.contract
    rows: list[Row] = [{contract.field: _value(contract.field, text)} for text in inputs]
    return [contract.output.dump_python(answer, mode="json", exclude_none=True) for answer in predictor.predict(rows)]


def _served(url: str, inputs: list[str], api_key: str | None) -> list[Any]:
    from bigray.client import Client
    from bigray.errors import UserError
    from bigray.schemas import CONTRACTS

    base, found, name = url.rstrip("/").rpartition("/models/")
    if not found:
        raise UserError(f"{url!r} names no model; it should end with /models/NAME, as `bigray status` shows it.")
    with Client(base, api_key=api_key) as client:
        task = client.describe(name)["task"]
        contract, ask = CONTRACTS[task], getattr(client, task)
        answers = [ask(_value(contract.field, text), model=name) for text in inputs]
    return [contract.output.dump_python(answer, mode="json", exclude_none=True) for answer in answers]


def _value(field: str, text: str) -> str | bytes:
    from bigray.errors import DataError

    if field == "text":
        return text
    try:
        return Path(text).read_bytes()
    except OSError as error:
        raise DataError(
            f"Cannot read {text!r}: {error.strerror}. This model takes the path of an {field} file."
        ) from None
