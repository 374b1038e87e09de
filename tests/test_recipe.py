"""Recipes: what a wrong one says, what a right one means, and that every shipped one loads."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bigray import pipeline, strict_yaml
from bigray import recipe as recipes
from bigray.cli import main
from bigray.errors import RecipeError, UserError
from bigray.recipes import starter

ROWS = "text,label\n" + "".join(f"sentence number {i},{'good' if i % 2 else 'bad'}\n" for i in range(40))
GOOD = "name: mine\ntask: text_classification\ndata:\n  train: rows.csv\n"

MALFORMED = {
    # name: (recipe, overrides, words that the message must have)
    "nothing": ("", [], ["mapping", "nothing"]),
    "list at top": ("- name: mine\n", [], ["mapping", "a list"]),
    "plain text": ("just words", [], ["mapping", "text"]),
    "not yaml": ("name: [mine", [], ["not valid YAML", "line 1"]),
    "tab": ("name: mine\n\ttask: x\n", [], ["not valid YAML", "line 2"]),
    "forbidden character": ("name: \x00", [], ["not valid YAML"]),
    "an object": (GOOD + "model: !!python/object/apply:os.system [ls]\n", [], ["not valid YAML", "line 5"]),
    "key given twice": (GOOD + "name: again\n", [], ["'name' is given twice", "line 5"]),
    "inner key given twice": (GOOD + "train: {epochs: 1, epochs: 2}\n", [], ["'epochs' is given twice"]),
    "odd key": (GOOD + "? [a, b]\n: c\n", [], ["plain text"]),
    "impossible date": (GOOD.replace("mine", "2024-99-99"), [], ["Quote it"]),
    "missing name": (GOOD.replace("name: mine\n", ""), [], ["name: is required"]),
    "missing data": ("name: mine\ntask: text_classification\n", [], ["data: is required"]),
    "missing train": (GOOD.replace("train: rows.csv", "limit: 3"), [], ["data.train: is required"]),
    "unknown key": (GOOD + "trian: {epochs: 1}\n", [], ["trian: unknown key", "did you mean 'train'"]),
    "unknown inner key": (GOOD + "train: {epoch: 1}\n", [], ["train.epoch: unknown key", "'epochs'"]),
    "unknown key in a list": (
        GOOD + "compress: {methods: [{nam: quantize_static}]}\n",
        [],
        ["compress.methods.0.nam", "did you mean 'name'", "Known here: knobs, name."],
    ),
    "unknown task": (GOOD.replace("text_cl", "txt_cl"), [], ["task:", "'text_classification'", "Known:"]),
    "bad name": (GOOD.replace("mine", "My Recipe!"), [], ["name:", "lower-case"]),
    "name that leaves the folder": (GOOD.replace("mine", "../x"), [], ["name:", "lower-case"]),
    "text for a number": (GOOD + "train: {epochs: many}\n", [], ["train.epochs", "whole number", '"many"']),
    "quoted number": (GOOD + 'train: {epochs: "3"}\n', [], ["train.epochs", "whole number"]),
    "fraction for a whole number": (GOOD + "train: {epochs: 1.5}\n", [], ["train.epochs", "whole number", "1.5"]),
    "truth for a number": (GOOD + "train: {epochs: true}\n", [], ["train.epochs", "whole number"]),
    "number for text": (GOOD.replace("mine", "5"), [], ["name: must be text", "quotes"]),
    "word for a truth": (GOOD + "train: {gpu: maybe}\n", [], ["train.gpu", "true or false"]),
    "infinite": (GOOD + "train: {learning_rate: .inf}\n", [], ["train.learning_rate", "finite"]),
    "not a number": (GOOD + "train: {learning_rate: .nan}\n", [], ["train.learning_rate"]),
    "negative": (GOOD + "seed: -1\n", [], ["seed", "at least 0", "-1"]),
    "zero": (GOOD + "train: {batch_size: 0}\n", [], ["train.batch_size", "above 0"]),
    "too much": (GOOD + "compress: {max_drop: 101}\n", [], ["compress.max_drop", "at most 100"]),
    "no such choice": (GOOD + "train: {schedule: zigzag}\n", [], ["train.schedule", "'one_cycle'"]),
    "section is text": (GOOD + "train: fast\n", [], ["train: must be a mapping"]),
    "half held out": (GOOD + "  validation: 0.7\n", [], ["data.validation", "below 0.5", "0.7"]),
    "empty list": (GOOD + "compress: {batch_sizes: []}\n", [], ["compress.batch_sizes", "at least 1"]),
    "replicas clash": (GOOD + "serve: {min_replicas: 3, max_replicas: 2}\n", [], ["max_replicas is 2", "3"]),
    "batch larger than queue": (GOOD + "serve: {max_batch_size: 100}\n", [], ["max_ongoing_requests", "never fill"]),
    "set without value": (GOOD, ["train.epochs"], ["--set", "key.path=value"]),
    "set without key": (GOOD, ["=3"], ["--set", "key.path=value"]),
    "set through a value": (GOOD, ["data.train.file=x"], ["--set data.train.file", "data.train is text"]),
    "set not yaml": (GOOD, ["train.epochs=["], ["--set train.epochs", "quote"]),
    "set unknown": (GOOD, ["train.ephocs=3"], ["train.ephocs", "'epochs'"]),
    "set wrong type": (GOOD, ["train.epochs=x"], ["train.epochs", "whole number"]),
    # known only to plugins and files: found by pipeline.check, before any cluster
    "missing file": (GOOD.replace("rows.csv", "nowhere.csv"), [], ["nowhere.csv"]),
    "missing column": (GOOD + "  columns: {text: sentence}\n", [], ["sentence"]),
    "column of no field": (GOOD + "  columns: {words: text}\n", [], ["words"]),
    "unknown format": (GOOD + "  format: xls\n", [], ["data.format", "'csv'"]),
    "unknown reader option": (GOOD + "  options: {delimeter: x}\n", [], ["delimeter"]),
    "unknown catalogue entry": (GOOD.replace("rows.csv", "catalogue:digit"), [], ["digit", "'digits'"]),
    "unfit catalogue entry": (GOOD.replace("rows.csv", "catalogue:digits"), [], ["digits", "text"]),
    "unknown augmentation": (GOOD + "  augment: [drop_word]\n", [], ["drop_word", "'drop_words'"]),
    "unfit augmentation of recovery": (GOOD + "compress: {augment: [flip]}\n", [], ["compress.augment.0", "flip"]),
    "unfit augmentation": (GOOD + "  augment: [flip]\n", [], ["flip"]),
    "unknown engine": (GOOD + "compress: {engines: [openvin]}\n", [], ["openvin", "'openvino'"]),
    "unknown method": (GOOD + "compress: {methods: [quantise_static]}\n", [], ["quantise_static", "'quantize_static'"]),
    "unknown knob": (
        GOOD + "compress: {methods: [{name: prune_structured, knobs: {ratioo: 0.3}}]}\n",
        [],
        ["ratioo", "ratio"],
    ),
    "knob out of range": (
        GOOD + "compress: {methods: [{name: prune_structured, knobs: {ratio: 7}}]}\n",
        [],
        ["ratio", "7"],
    ),
    "unknown network": (GOOD + "model: {name: ffn}\n", [], ["ffn", "'ffnn'"]),
    "missing pretrained": (GOOD + "model: {source: transformers, name: ./no-model}\n", [], ["no-model"]),
    "more workers than rows per step": (GOOD + "train: {workers: 8, batch_size: 4}\n", [], ["train.batch_size", "8"]),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "rows.csv").write_text(ROWS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_recipe_says_what_where_and_how(
    case: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, overrides, words = MALFORMED[case]
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        pipeline.check(recipes.read("recipe.yaml", overrides))
    for word in words:
        assert word in caught.value.detail
    sets = [part for override in overrides for part in ("--set", override)]
    with pytest.raises(SystemExit) as left:
        main.run(["run", "recipe.yaml", "--dry-run", *sets])
    shown = capsys.readouterr()
    assert left.value.code == 2
    assert shown.err == f"error: {caught.value.detail}\n"
    assert shown.out == ""
    assert "Traceback" not in shown.err
    assert "pydantic" not in shown.err


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        recipes.parse(GOOD + "seed: -1\ntrain: {epochs: x}\n")
    assert [problem["pointer"] for problem in caught.value.errors] == ["seed", "train.epochs"]
    assert len(caught.value.detail.splitlines()) == 2


def test_unreadable_files_are_named(folder: Path) -> None:
    (folder / "image.yaml").write_bytes(b"\xff\xfe\x00\x01")
    for path, words in (("image.yaml", "UTF-8"), (".", "directory"), ("text_clasification.tiny", "Did you mean")):
        with pytest.raises(RecipeError, match=words):
            recipes.read(path)


def test_the_least_recipe_is_good(folder: Path) -> None:
    (folder / "recipe.yaml").write_text(GOOD + "train:\n  # epochs: 3\n", encoding="utf-8")
    recipe = recipes.read("recipe.yaml")
    pipeline.check(recipe)
    assert recipe.data.train == str(folder / "rows.csv")
    assert recipe.endpoint == "mine"


def test_task_then_file_then_overrides() -> None:
    text = "name: a\ntask: image_classification\ndata: {train: catalogue:digits}\n"
    assert recipes.parse(text).train.epochs == 10  # the task's own default
    assert recipes.parse(text + "train: {epochs: 4}\n").train.epochs == 4
    recipe = recipes.parse(text + "train: {epochs: 4}\n", ["train.epochs=7", "train.learning_rate=1e-4"])
    assert (recipe.train.epochs, recipe.train.learning_rate, recipe.train.batch_size) == (7, 1e-4, 64)


def test_paths_are_relative_to_the_recipe_and_overrides_to_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "recipe.yaml").write_text(GOOD + "  test: [a.csv, /b.csv, ~/c.csv, hub:d/e]\n", encoding="utf-8")
    recipe = recipes.read("sub/recipe.yaml", ["data.validation=v.csv"])
    assert recipe.data.train == str(folder / "sub" / "rows.csv")
    assert recipe.data.test == [str(folder / "sub" / "a.csv"), "/b.csv", "~/c.csv", "hub:d/e"]
    assert recipe.data.validation == str(folder / "v.csv")


def test_plain_names_stand_for_mappings() -> None:
    recipe = recipes.parse(GOOD + "  augment: [drop_words]\ncompress: {methods: [quantize_static]}\n")
    assert recipe.data.augment[0].name == "drop_words"
    assert recipe.compress.methods[0].name == "quantize_static"


def test_a_recipe_is_frozen_and_survives_a_round_trip() -> None:
    recipe = recipes.parse(GOOD)
    assert recipes.parse(recipes.dump(recipe)) == recipe
    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-3", 1e-3), ("5.0e-4", 5e-4), ("1_000", 1000), ("no", False), ("0x10", 16), ("'1e-3'", "1e-3")],
)
def test_numbers_in_yaml(text: str, value: object) -> None:
    assert strict_yaml.load(f"a: {text}") == {"a": value}


def test_every_field_is_documented() -> None:
    def undocumented(node: object, path: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        found = [f"{path}.{key}" for key, field in node.get("properties", {}).items() if "description" not in field]
        return found + [name for key, value in node.items() for name in undocumented(value, f"{path}.{key}")]

    assert [
        name
        for name in undocumented(recipes.schema(), "")
        if not name.endswith(("data", "model", "train", "compress", "serve"))
    ] == []


@pytest.mark.parametrize("name", recipes.shipped())
def test_every_shipped_recipe_loads(name: str) -> None:
    recipe = recipes.read(name)
    assert recipe.task in name or name.startswith("demo_")
    if name.endswith(".tiny"):
        pipeline.check(recipe)


@pytest.mark.parametrize(
    "task", [name for name in recipes.shipped() if "." not in name and not name.startswith("demo_")]
)
def test_starters_keep_their_comments_and_take_own_data(task: str, tmp_path: Path) -> None:
    assert recipes.parse(starter(task)).task == task
    text = starter(task, "my rows/train: a.csv")
    recipe = recipes.parse(text)
    assert recipe.data.train == "my rows/train: a.csv"
    assert recipe.data.columns == {}
    assert recipe.data.options == {}
    assert text.count("#") > 8
    assert list(yaml.safe_load(text))[:5] == ["name", "task", "seed", "output", "data"]
