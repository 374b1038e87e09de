"""Two files whose lines belong together."""

import gzip

import pytest

from bigray.errors import DataError
from tests.data.rows import read

OPTIONS = {"source": "en", "target": "de"}


def pair(folder, english, german, ending=""):
    for part, text in (("en", english), ("de", german)):
        data = text.encode()
        (folder / f"train.{part}{ending}").write_bytes(gzip.compress(data) if ending else data)
    return str(folder / f"train.en{ending}")


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_lines_belong_together(tmp_path, ending):
    source = pair(tmp_path, "One dog.\n\nTwo cats.\n", "Ein Hund.\n\nZwei Katzen.\n", ending)
    rows = read("translation", train=source, format="parallel_text", options=OPTIONS)
    assert rows == [
        {"text": "One dog.", "translation": "Ein Hund."},
        {"text": "Two cats.", "translation": "Zwei Katzen."},
    ]


@pytest.mark.parametrize(
    ("english", "german", "options", "words"),
    [
        ("a\nb\n", "c\n", OPTIONS, "line 2: only .*train.en' has so many lines"),
        ("a\n", "c\nd\n", OPTIONS, "line 2: only .*train.de' has so many lines"),
        ("a\n", "\n", OPTIONS, "line 1: 'translation' is empty"),
        ("a\n", "b\n", {}, "options: {source: en, target: de}"),
        ("a\n", "b\n", {"source": "fr", "target": "de"}, "no part of the name"),
        ("a\n", "b\n", {"source": "en", "target": "fr"}, "There is no file .*train.fr"),
    ],
)
def test_mistakes_are_explained(tmp_path, english, german, options, words):
    source = pair(tmp_path, english, german)
    with pytest.raises(DataError, match=words):
        read("translation", train=source, format="parallel_text", options=options)
