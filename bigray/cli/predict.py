"""`bigray predict`: ask a model on disk, or one that is served."""

from __future__ import annotations

import json
import sys
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
        list[str] | None,
        typer.Argument(
            metavar="[INPUT]...",
            help="Texts, paths of images or sound files, or JSON where an input has several fields; by default a sample.",
        ),
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="BIGRAY_API_KEY", help="Key, where the service wants one.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Write answers that are files there.")
    ] = None,
) -> None:
    """Print one JSON answer per input; without an input, that for a sample that comes with bigray.

    Example:  bigray predict runs/reviews/artifact

    Example:  bigray predict runs/reviews/artifact "a fine film" "two hours lost"

    Example:  bigray predict runs/facts/artifact '{"question": "Who came?", "context": "Ada came at nine."}'

    Example:  bigray predict runs/voice/artifact "a fine film" --output spoken

    Example:  bigray predict http://127.0.0.1:8000/models/digits seven.png
    """
    served = model.startswith(("http://", "https://"))
    contract, answers = _served(model, inputs or [], api_key) if served else _local(model, inputs or [])
    for number, answer in enumerate(answers, start=1):
        kept = {} if output is None or contract.file is None else _kept(contract, answer, output, number)
        told = contract.output.dump_python(answer, mode="json", exclude_none=True)
        print(json.dumps(told | kept if kept else told, ensure_ascii=False))


def _kept(contract: Contract, answer: Any, folder: Path, number: int) -> dict[str, str]:
    """Write the file of an answer; return what to print in its place."""
    from bigray.errors import UserError

    field, media_type = contract.file or ("", "")
    path = folder / f"{number}.{media_type.rpartition('/')[2]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(getattr(answer, field))
    except OSError as error:
        raise UserError(f"Cannot write {str(path)!r}: {error.strerror}.") from None
    return {field: str(path)}


def _local(folder: str, inputs: list[str]) -> tuple[Contract, list[Any]]:
    from bigray.predictor import open_artifact
    from bigray.tasks.base import Row

    predictor = open_artifact(folder)
    contract = predictor.task.contract
    values = [_value(contract, text) for text in inputs or _sample(contract)]
    rows: list[Row] = [value if isinstance(value, dict) else {contract.field: value} for value in values]
    return contract, predictor.predict(rows)


def _served(url: str, inputs: list[str], api_key: str | None) -> tuple[Contract, list[Any]]:
    from bigray.client import Client
    from bigray.errors import UserError
    from bigray.schemas import CONTRACTS

    base, found, name = url.rstrip("/").rpartition("/models/")
    if not found:
        raise UserError(f"{url!r} names no model; it should end with /models/NAME, as `bigray status` shows it.")
    with Client(base, api_key=api_key, retries=2) as client:
        task = client.describe(name)["task"]
        contract = CONTRACTS[task]
        values = [_value(contract, text) for text in inputs or _sample(contract)]
        return contract, [client.predict(task, value, model=name) for value in values]


def _sample(contract: Contract) -> list[str]:
    from bigray import samples

    file = samples.locate(contract.task)
    print(f"bigray: asking with the sample input {file}", file=sys.stderr)
    return [file.read_text(encoding="utf-8") if contract.field == "text" else str(file)]


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
