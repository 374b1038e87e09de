from __future__ import annotations

from pathlib import Path

import pytest

from bigray import bundle
from bigray.errors import RecipeError
from bigray.recipe import parse, read


def recipe(folder: Path, data: str, more: str = "") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "mine.yaml"
    path.write_text(f"name: mine\ntask: text_classification\noutput: /shared/runs\ndata: {{{data}}}\n{more}")
    return path


def fill(path: Path, text: str = "text,label\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sent").mkdir()
    return tmp_path / "sent"


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_keep_their_places_relative_to_the_recipe(tmp_path: Path, folder: Path) -> None:
    project = tmp_path / "project"
    for name in ("data/a.csv", "data/b.csv", "data/other.txt", "recipes/test/x.csv", "unrelated.csv"):
        fill(project / name, name)
    path = recipe(project / "recipes", "train: ../data/*.csv, validation: test/x.csv, test: test, format: csv")
    wanted, place = bundle.gather(path, folder, ["train.epochs=9"])
    assert place == "recipes/recipe.yaml"
    assert contents(folder) == ["data/a.csv", "data/b.csv", "recipes/recipe.yaml", "recipes/test/x.csv"]
    arrived = read(folder / place)
    assert arrived.train.epochs == wanted.train.epochs == 9
    assert Path(str(arrived.data.validation)).read_text() == "recipes/test/x.csv"
    assert str(arrived.data.train) == str(folder / "data/*.csv")


def test_what_the_cluster_must_have_stays_as_it_is(tmp_path: Path, folder: Path) -> None:
    data = "train: [/shared/a.csv, s3://bucket/b.csv], validation: hub:o/n, test: catalogue:digits"
    path = recipe(tmp_path, data)
    wanted, place = bundle.gather(path, folder)
    assert contents(folder) == [place] == ["recipe.yaml"]
    assert parse((folder / place).read_text()) == wanted


def test_model_files_come_along_from_the_working_directory(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "nets/small/config.json", "{}")
    fill(tmp_path / "nets/w.safetensors", "w")
    fill(tmp_path / "nets/find.onnx", "f")
    more = "model: {source: transformers, name: nets/small, weights: nets/w.safetensors, input: {detector: nets/find.onnx}}"
    bundle.gather(recipe(tmp_path, "train: /shared/a.csv", more), folder)
    assert contents(folder) == ["nets/find.onnx", "nets/small/config.json", "nets/w.safetensors", "recipe.yaml"]
    fill(tmp_path.parent / "outside.safetensors")
    path = recipe(tmp_path, "train: /shared/a.csv", "model: {weights: ../outside.safetensors}")
    with pytest.raises(RecipeError, match=r"model\.weights is '../outside.*outside the working directory"):
        bundle.gather(path, folder)


def test_a_linked_file_arrives_as_a_file(tmp_path: Path, folder: Path) -> None:
    fill(tmp_path / "elsewhere" / "real.csv", "rows")
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "link.csv").symlink_to(tmp_path / "elsewhere" / "real.csv")
    bundle.gather(recipe(tmp_path / "project", "train: link.csv"), folder)
    assert (folder / "link.csv").read_text() == "rows"
    assert not (folder / "link.csv").is_symlink()


@pytest.mark.parametrize(
    ("data", "overrides", "message"),
    [
        ("train: missing.csv", [], r"names 'missing.csv'.*absolute path"),
        ("train: none/*.csv", [], r"names 'none/\*.csv'"),
        ("train: a.csv", ["output=runs"], r"output is 'runs'.*--set output=/shared/runs"),
        ("train: a.csv", ["train.epoch=1"], r"unknown key"),
    ],
)
def test_mistakes_are_found_here(tmp_path: Path, folder: Path, data: str, overrides: list[str], message: str) -> None:
    fill(tmp_path / "a.csv")
    with pytest.raises(RecipeError, match=message):
        bundle.gather(recipe(tmp_path, data), folder, overrides)


def test_large_data_belongs_on_shared_storage(tmp_path: Path, folder: Path) -> None:
    fill(tmp_path / "big" / "a.csv", "x" * 3000)
    with pytest.raises(RecipeError, match=r"largest: '.*big'.*storage that every node mounts"):
        bundle.gather(recipe(tmp_path, "train: big"), folder, max_bytes=2000)
    assert contents(folder) == []
