import io
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from bigray import plugins
from bigray.data import sources
from bigray.errors import DataError, RecipeError
from bigray.recipe import Data

TEXT = plugins.load("bigray.tasks", "text_classification").TASK
IMAGE = plugins.load("bigray.tasks", "image_classification").TASK
SPEECH = plugins.load("bigray.tasks", "automatic_speech_recognition").TASK
DETECTION = plugins.load("bigray.tasks", "object_detection").TASK


def table(path: Path, count: int, start: int = 0, groups: int = 10) -> str:
    lines = [f"row {number},{number % 2},g{number % groups}" for number in range(start, start + count)]
    path.write_text("\n".join(["text,label,writer", *lines]))
    return str(path)


def texts(dataset) -> list[str]:
    return [row["text"] for batch in dataset.iter_batches(batch_format="pyarrow") for row in batch.to_pylist()]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(40):
        path = folder / ("even" if number % 2 == 0 else "odd") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (number, 0, 0)).save(path)
    return folder


def test_check_needs_no_cluster_and_finds_mistakes(tmp_path):
    data = Data(train=table(tmp_path / "a.csv", 9))
    sources.check(data, TEXT)
    with pytest.raises(DataError, match="no file or folder"):
        sources.check(data.model_copy(update={"test": str(tmp_path / "b.csv")}), TEXT)
    with pytest.raises(DataError, match="no column 'audio'"):
        sources.check(data, SPEECH)
    flip = Data(train=data.train, augment=[{"name": "flip"}])
    with pytest.raises(
        RecipeError, match=r"data\.augment\.0: 'flip' changes image, but text_classification reads text"
    ):
        sources.check(flip, TEXT)


@pytest.mark.cluster
def test_splits_are_exact_and_repeatable(tmp_path, ray_cluster):
    data = Data(train=table(tmp_path / "a.csv", 500))
    first, second = sources.load(data, TEXT, seed=1), sources.load(data, TEXT, seed=1)
    parts = [texts(dataset) for dataset in (first.train, first.validation, first.test)]
    assert first.counts == {"train": 400, "validation": 50, "test": 50}
    assert [len(part) for part in parts] == [400, 50, 50]
    assert sorted(text for part in parts for text in part) == sorted(f"row {number}" for number in range(500))
    assert parts == [texts(dataset) for dataset in (second.train, second.validation, second.test)]
    assert texts(sources.load(data, TEXT, seed=2).test) != parts[2]
    assert [row["text"] for row in first.sample] == parts[0]
    assert first.sample[0].keys() == {"text", "label"}


@pytest.mark.cluster
def test_own_sources_limit_and_groups(tmp_path, ray_cluster):
    train = [table(tmp_path / "a.csv", 100), table(tmp_path / "b.csv", 100, start=100)]
    test = table(tmp_path / "t.csv", 20, start=900)
    splits = sources.load(Data(train=train, test=test, limit=30), TEXT, seed=0)
    assert splits.counts == {"train": 30, "validation": 20, "test": 20}
    assert sorted(texts(splits.test)) == [f"row {number}" for number in range(900, 920)]
    assert not set(texts(splits.train)) & set(texts(splits.validation))

    grouped = sources.load(Data(train=train, group_by="writer"), TEXT, seed=0)
    writers = [
        {row["writer"] for row in sources.take(part, 200)} for part in (grouped.train, grouped.validation, grouped.test)
    ]
    assert [len(group) for group in writers] == [8, 1, 1]
    assert len(set.union(*writers)) == 10
    with pytest.raises(DataError, match=r"writer 'g0' and \d other\(s\) are in both"):
        sources.load(Data(train=train, test=test, group_by="writer"), TEXT, seed=0)


@pytest.mark.cluster
def test_media_is_read_late_and_whole(pictures, ray_cluster):
    splits = sources.load(Data(train=str(pictures), label_names={"odd": "uneven"}), IMAGE, seed=0)
    rows = sources.take(splits.train, 100, seed=1)
    assert len(rows) == 32
    for row in rows:
        assert row.keys() == {"image", "label"}
        number = Image.open(io.BytesIO(row["image"])).getpixel((0, 0))[0]
        assert row["label"] == ("uneven" if number % 2 else "even")
    assert splits.sample[0].keys() == {"label"}
    assert len(sources.take(splits.train, 5)) == 5
    assert sources.take(splits.train, 100, seed=1) == rows


@pytest.mark.cluster
def test_a_vanished_file_is_named(tmp_path, ray_cluster):
    for number in range(6):
        (tmp_path / "x").mkdir(exist_ok=True)
        Image.new("L", (2, 2)).save(tmp_path / "x" / f"{number}.png")
    splits = sources.load(Data(train=str(tmp_path)), IMAGE, seed=0)
    for file in (tmp_path / "x").iterdir():
        file.unlink()
    with pytest.raises(DataError, match=r"media file .*\.png' cannot be read: No such file") as caught:
        sources.take(splits.train, 3)
    assert type(caught.value) is DataError


@pytest.mark.cluster
def test_files_and_bytes_mix_and_boxes_survive(tmp_path, ray_cluster):
    Image.new("RGB", (40, 40)).save(tmp_path / "a.png")
    box = '[[1, 2, 30, 40], [0, 0, 5.5, 5]], "labels": ["b", "a"]'
    lines = [f'{{"image": "a.png", "boxes": {box}}}', '{"image": "a.png", "boxes": [], "labels": []}'] * 3
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    rows = sources.take(sources.load(Data(train=str(tmp_path / "a.jsonl")), DETECTION, seed=0).train, 10)
    full = next(row for row in rows if row["boxes"])
    assert full["boxes"] == [[1.0, 2.0, 30.0, 40.0], [0.0, 0.0, 5.5, 5.0]]
    assert full["labels"] == ["b", "a"]
    folder = tmp_path / "more" / "0"
    folder.mkdir(parents=True)
    os.replace(tmp_path / "a.png", folder / "a.png")
    mixed = sources.load(Data(train=["catalogue:digits", str(folder.parent)], test=0.01), IMAGE, seed=0)
    assert sum(mixed.counts.values()) == 1798
    assert all(isinstance(row["image"], bytes) for row in sources.take(mixed.train, 1700))


@pytest.mark.cluster
@pytest.mark.shared
def test_real_sets(shared_data, ray_cluster):
    films = shared_data / "text_classification" / "sst2"
    data = Data(
        train=str(films / "train.tsv"), validation=str(films / "dev.tsv"), columns={"text": 0, "label": 1}, test=0.1
    )
    splits = sources.load(data, TEXT, seed=0)
    assert splits.counts == {"train": 6228, "validation": 872, "test": 692}
    assert {row["label"] for row in splits.sample} == {"0", "1"}
    bank = Data(
        train=str(shared_data / "text_classification" / "banking77" / "train.csv"), columns={"label": "category"}
    )
    splits = sources.load(bank, TEXT, seed=0)
    assert sum(splits.counts.values()) == 10003
    assert len({row["label"] for row in splits.sample}) == 77
    speech = shared_data / "speech_synthesis" / "asterisk_allison"
    data = Data(train=str(speech / "metadata.tsv"), columns={"audio": 0, "text": 2}, options={"media_root": "flac"})
    splits = sources.load(data, SPEECH, seed=0)
    assert sum(splits.counts.values()) == 428
    assert sources.take(splits.test, 1)[0]["audio"].startswith(b"fLaC")


@pytest.mark.cluster
@pytest.mark.shared
def test_real_boxes_by_list(shared_data, tmp_path, ray_cluster):
    shutil.unpack_archive(shared_data / "object_detection" / "bccd" / "bccd_trainval.tar.xz", tmp_path)
    data = Data(train=str(tmp_path / "train.txt"), validation=str(tmp_path / "val.txt"), test=0.2)
    splits = sources.load(data, DETECTION, seed=0)
    assert splits.counts == {"train": 164, "validation": 87, "test": 41}
    assert {label for row in splits.sample for label in row["labels"]} == {"RBC", "WBC", "Platelets"}
    row = sources.take(splits.validation, 1)[0]
    assert row["image"].startswith(b"\xff\xd8")
    assert len(row["boxes"]) == len(row["labels"]) > 0
