"""Summaries made of a text's own sentences."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import processors

from bigray.errors import InvalidInput, RecipeError
from bigray.predictor import Predictor
from bigray.recipe import Data, Model
from bigray.schemas import Summary
from bigray.tasks._extract import Extractive
from bigray.tasks._text import sentence_places, train_tokenizer
from bigray.tasks.summarization import TASK

TEXT = 'The board met. It rained all day. "We sold the old boat." Coffee was served!\n\nNobody left early'
ROWS = [{"text": TEXT, "summary": "We sold the boat."}] * 3


def encoder_folder(folder: Path) -> Path:
    """Write a small BERT with a word-piece tokenizer."""
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    tokenizer = train_tokenizer(
        [TEXT, "Nothing happened on that day either. Then the boat was sold."], 300, ("[CLS]", "[SEP]")
    )
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    config = BertConfig(
        vocab_size=300,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
    )
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Extractive:
    folder = encoder_folder(tmp_path_factory.mktemp("encoder"))
    made = TASK.prepare(Data(train="x"), Model(source="transformers", name=str(folder)), ROWS)
    assert isinstance(made, Extractive)
    return made


def test_sentences_keep_their_places_and_their_quotes():
    found = [TEXT[start:end] for start, end in sentence_places(TEXT)]
    assert found == [
        "The board met.",
        "It rained all day.",
        '"We sold the old boat."',
        "Coffee was served!",
        "Nobody left early",
    ]
    assert sentence_places(" \n ") == []


def test_the_answer_is_the_sentence_whose_tokens_are_most_relevant(task: Extractive):
    batch = task.encode([{"text": TEXT}])
    relevance = np.where(batch["sentence"] == 2, 3.0, -1.0).astype(np.float32)
    found = task.decode({"relevance": relevance}, batch)
    assert task.merge({"text": TEXT}, found) == Summary(summary_text='"We sold the old boat."')


def test_the_best_sentences_come_in_the_order_of_the_text(task: Extractive):
    two = Extractive(task.state.model_copy(update={"sentences": 2}), task.tokenizer)
    batch = two.encode([{"text": TEXT}])
    scores = np.array([1.0, 0.0, 0.5, 2.0, 0.0, -9.0], dtype=np.float32)
    found = two.decode({"relevance": scores[batch["sentence"]]}, batch)
    assert two.merge({"text": TEXT}, found).summary_text == "The board met. Coffee was served!"


def test_a_long_text_is_read_in_windows_and_its_best_sentence_may_be_in_the_last(task: Extractive):
    short = Extractive(task.state.model_copy(update={"max_source": 80}), task.tokenizer)
    text = "Nothing happened on that day either. " * 30 + "Then the boat was sold."
    pieces = list(short.split({"text": text}))
    assert len(pieces) > 3
    assert all(sum(map(len, piece["window"].tokens)) <= 80 for piece in pieces)
    first = [piece["window"].places[0] for piece in pieces[1:]]
    assert first == [piece["window"].places[-1] for piece in pieces[:-1]]  # neighbours share a sentence

    def run(batch, part=""):
        last = len(text) - len("Then the boat was sold.")
        is_last = np.take_along_axis(batch["places"][..., 0], np.maximum(batch["sentence"], 0), 1) == last
        return {"relevance": (is_last & (batch["sentence"] >= 0)).astype(np.float32)}

    session = type("Session", (), {"run": staticmethod(run)})()
    assert Predictor(short, session).predict([{"text": text}])[0].summary_text == "Then the boat was sold."


def test_a_sentence_longer_than_the_window_is_read_by_its_beginning(task: Extractive):
    short = Extractive(task.state.model_copy(update={"max_source": 20}), task.tokenizer)
    batch = short.encode([{"text": "boat " * 500 + ". Short one."}])
    assert batch["input_ids"].shape[1] <= 20


def test_the_loss_falls_when_the_sentence_with_the_best_rouge_is_preferred(task: Extractive):
    batch = {name: torch.from_numpy(value) for name, value in task.encode(ROWS).items()}
    best = int(batch["worth"][0].argmax())
    assert best == 2
    right, wrong = (torch.where(batch["sentence"] == number, 3.0, 0.0) for number in (best, 1))
    assert task.loss({"relevance": right}, batch) < task.loss({"relevance": wrong}, batch)
    assert task.distance({"relevance": right}, {"relevance": right}, batch) == pytest.approx(0, abs=1e-6)
    assert task.distance({"relevance": wrong}, {"relevance": right}, batch) > 0.1


def test_it_comes_back_as_it_was_saved(task: Extractive, tmp_path: Path):
    task.save(tmp_path)
    loaded = TASK.load(tmp_path)
    assert isinstance(loaded, Extractive)
    assert loaded.state == task.state
    assert np.array_equal(loaded.encode(ROWS)["sentence"], task.encode(ROWS)["sentence"])


def test_bad_texts_and_settings_are_refused(task: Extractive):
    with pytest.raises(InvalidInput, match="empty"):
        list(task.split({"text": "  "}))
    model = Model(source="transformers", name="x", input={"sentences": -1})
    with pytest.raises(RecipeError, match="sentences"):
        Extractive.prepare(Data(train="x"), model, ROWS)
