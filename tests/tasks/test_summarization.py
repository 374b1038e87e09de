"""Summarization: what it does not share with translation (see test_translation)."""

import pytest

from bigray.recipe import Data, Model
from bigray.schemas import Summary
from bigray.tasks.summarization import TASK

TEXT = "The board met on Monday. It rained. The board has sold the old boat. Coffee was served. "
ROWS = [{"text": TEXT * count, "summary": "The board sold the boat."} for count in (1, 2)]


def test_summaries_of_pieces_follow_one_another():
    task = TASK.prepare(Data(train="x"), Model(input={"max_source": 40, "vocabulary_size": 200}), ROWS)
    assert task.state.no_repeat == 3
    pieces = list(task.split({"text": TEXT * 10}))
    assert len(pieces) > 3
    assert task.merge({}, ["One.", "", "Two."]) == Summary(summary_text="One. Two.")


def test_it_is_scored_by_rouge():
    task = TASK.prepare(Data(train="x"), Model(input={"vocabulary_size": 200}), ROWS)
    found = task.score([Summary(summary_text="The board sold the boat."), Summary(summary_text="Nothing")], ROWS)
    assert found["rouge_1"] == pytest.approx(0.5)
    assert set(found) == {"rouge_1", "rouge_2", "rouge_l"}
    batch = task.encode(ROWS)
    assert batch["target_mask"].sum(1).tolist() == [batch["target_mask"].shape[1]] * 2
