"""Questions in SQuAD's own JSON, in flat JSON, and in tables."""

import gzip
import json

import pytest

from bigray.data import augment
from bigray.data.sources import _schema
from bigray.errors import DataError, RecipeError
from bigray.recipe import Augmentation
from tests.data.rows import read

TASK = "question_answering"
NESTED = {
    "version": "v2.0",
    "data": [
        {
            "title": "Oslo",
            "paragraphs": [
                {
                    "context": "Anna lives in Oslo.",
                    "qas": [
                        {"id": "1", "question": "Where?", "answers": [{"text": "Oslo", "answer_start": 14}] * 2},
                        {"id": "2", "question": "Who sings?", "answers": [], "plausible_answers": [{"text": "Anna"}]},
                    ],
                }
            ],
        }
    ],
}
FIRST = {"question": "Where?", "context": "Anna lives in Oslo.", "answers": [{"text": "Oslo", "start": -1}]}


@pytest.mark.parametrize("packed", [False, True])
def test_nested(tmp_path, packed):
    path = tmp_path / ("dev.json.gz" if packed else "dev.json")
    text = json.dumps(NESTED).encode()
    path.write_bytes(gzip.compress(text) if packed else text)
    rows = read(TASK, train=str(path))
    assert [row["answers"] for row in rows] == [[{"text": "Oslo", "start": 14}] * 2, []]
    assert read(TASK, train=str(path), group_by="title")[0]["title"] == "Oslo"


def test_flat_and_tables_give_the_same_rows(tmp_path):
    plain = {"question": "Where?", "context": "Anna lives in Oslo.", "answer": "Oslo"}
    (tmp_path / "a.json").write_text(json.dumps([plain]))
    (tmp_path / "a.jsonl").write_text(json.dumps(plain | {"answer": {"text": ["Oslo"], "answer_start": [14]}}))
    (tmp_path / "a.csv").write_text("question,context,answer\nWhere?,Anna lives in Oslo.,Oslo\n")
    assert read(TASK, train=str(tmp_path / "a.json")) == [FIRST]
    assert read(TASK, train=str(tmp_path / "a.csv"), columns={"answers": "answer"}) == [FIRST]
    placed = read(TASK, train=str(tmp_path / "a.jsonl"), columns={"answers": "answer"})
    assert placed[0]["answers"] == [{"text": "Oslo", "start": 14}]


def test_answers_have_a_column_of_their_own_kind():
    class Request:
        wanted, media = ("question", "answers"), None

    import pyarrow as pa

    rows = [{"question": "Where?", "answers": FIRST["answers"]}, {"question": "Who?", "answers": []}]
    assert pa.Table.from_pylist(rows, schema=_schema(Request)).to_pylist() == rows


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid JSON"),
        ('{"data": [{}]}', "nor in SQuAD's form"),
        ("[3]", "question 1: must be an object"),
        ('[{"question": "a", "context": "b"}]', "no field 'answers'"),
        ('[{"question": "a", "context": " ", "answer": "b"}]', "'context' is empty"),
        ('[{"question": "a", "context": "b", "answers": [3]}]', "an answer is a text"),
        ('[{"question": "a", "context": "b", "answers": {"text": ["b"], "answer_start": []}}]', "of one length"),
    ],
)
def test_mistakes_are_explained(tmp_path, content, words):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=words):
        read(TASK, train=str(tmp_path / "a.json"))


def test_augmentation_is_refused():
    with pytest.raises(RecipeError, match="takes no augmentation"):
        augment.check([Augmentation(name="drop_words")], TASK)
