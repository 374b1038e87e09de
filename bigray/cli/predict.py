"""`bigray predict`: ask a model on disk, or one that is served."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from bigray.schemas import Contract


def command(
    model: Annotated[
        str, typer.Argument(metavar="ARTIFACT_OR_URL", help="Folder of an artifact, or URL of a served model.")
    ],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...", help="Texts, paths of images or sound files, or JSON where an input has several fields."
        ),
    ],
    api_key: Annotated[
        str | None, typer.Option(envvar="BIGRAY_API_KEY", help="Key, where the service wants one.")
    ] = None,
) -> None:
    """Print one JSON answer per input.

    Example:  bigray predict runs/reviews/artifact "a fine film" "two hours lost"

    Example:  bigray predict runs/facts/artifact '{"question": "Who came?", "context": "Ada came at nine."}'

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
    values = [_value(contract, text) for text in inputs]
    rows: list[Row] = [value if isinstance(value, dict) else {contract.field: value} for value in values]
    return [contract.output.dump_python(answer, mode="json", exclude_none=True) for answer in predictor.predict(rows)]


def _served(url: str, inputs: list[str], api_key: str | None) -> list[Any]:
    from bigray.client import Client
    from bigray.errors import UserError
    from bigray.schemas import CONTRACTS

    base, found, name = url.rstrip("/").rpartition("/models/")
    if not found:
        raise UserError(f"{url!r} names no model; it should end with /models/NAME, as `bigray status` shows it.")
    with Client(base, api_key=api_key, retries=2) as client:
        task = client.describe(name)["task"]
        contract = CONTRACTS[task]
        answers = [client.predict(task, _value(contract, text), model=name) for text in inputs]
    return [contract.output.dump_python(answer, mode="json", exclude_none=True) for answer in answers]


def _value(contract: Contract, text: str) -> str | bytes | dict[str, str]:
    from bigray.errors import DataError

    if contract.input is not None:
        try:
            return contract.input.model_validate_json(text).model_dump()
        except ValueError:
            form = json.dumps(dict.fromkeys(contract.fields, "..."))
            raise DataError(f"This model takes JSON: '{form}'. Got {text[:80]!r}.") from None
    if contract.field == "text":
        return text
    try:
        return Path(text).read_bytes()
    except OSError as error:
        raise DataError(
            f"Cannot read {text!r}: {error.strerror}. This model takes the path of an {contract.field} file."
        ) from None
