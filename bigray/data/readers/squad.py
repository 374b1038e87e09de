"""Questions about texts, as JSON: SQuAD's own nesting, or one list of objects; gzipped when it ends in .gz.

::

    {"data": [{"paragraphs": [{"context": ..., "qas": [{"question": ..., "answers": [{"text", "answer_start"}]}]}]}]}
    [{"context": ..., "question": ..., "answer": ...}, ...]

An ``answer`` without a place is looked for in the context when it is learned from. A question with an empty list of
answers (SQuAD 2.0) has none in its context. Source: https://rajpurkar.github.io/SQuAD-explorer/.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bigray.data.readers.base import Reader, Request, Row, open_text
from bigray.errors import DataError


class Squad(Reader):
    """Reads the whole file at once."""

    def read(self, request: Request) -> Iterator[Row]:
        """Yield one row per question."""
        path = Path(request.source)
        with open_text(path) as file:
            try:
                content = json.load(file)
            except json.JSONDecodeError as error:
                raise DataError(f"{path}: not valid JSON: {error.msg} at line {error.lineno}.") from None
        for number, record in enumerate(_records(content, path), start=1):
            where = f"{path}, question {number}"
            if not isinstance(record, dict):
                raise DataError(f"{where}: must be an object, got a {type(record).__name__}.")
            if "answers" not in record and "answer" in record:
                record = {**record, "answers": record["answer"]}
            yield request.row(record, where)


def _records(content: Any, path: Path) -> Iterator[Any]:
    if isinstance(content, list):
        yield from content
        return
    try:
        for article in content["data"]:
            for paragraph in article["paragraphs"]:
                for question in paragraph["qas"]:
                    # version 2.0 gives plausible but wrong answers beside an empty list; they are left out
                    yield {"title": article.get("title", ""), **question, "context": paragraph["context"]}
    except (KeyError, TypeError, AttributeError):
        raise DataError(
            f"{path}: is neither a list of objects with context, question and answer, nor in SQuAD's form "
            "(data, paragraphs, qas)."
        ) from None


READER = Squad()
