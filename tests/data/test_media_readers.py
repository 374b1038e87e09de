import json
from pathlib import Path

import pytest

from bigray.errors import DataError, RecipeError
from tests.data.rows import read

BOX = (
    "<object><name>{0}</name><bndbox><xmin>{1}</xmin><ymin>{2}</ymin><xmax>{3}</xmax><ymax>{4}</ymax></bndbox></object>"
)


def touch(path: Path) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return str(path)


def voc(folder: Path, stem: str, *boxes: tuple) -> None:
    touch(folder / "images" / f"{stem}.jpg")
    (folder / "annotations").mkdir(exist_ok=True)
    objects = "".join(BOX.format(*box) for box in boxes)
    text = f"<annotation><filename>{stem}.jpg</filename>{objects}</annotation>"
    (folder / "annotations" / f"{stem}.xml").write_text(text)


def test_image_folder_takes_the_class_from_the_folder(tmp_path):
    files = [touch(tmp_path / name) for name in ("cat/b.PNG", "cat/a.jpg", "dog/1.pgm")]
    touch(tmp_path / "dog/notes.txt")
    rows = read("image_classification", train=str(tmp_path))
    assert rows == [
        {"image": files[1], "label": "cat"},
        {"image": files[0], "label": "cat"},
        {"image": files[2], "label": "dog"},
    ]


def test_a_folder_of_splits_is_not_taken_for_classes(tmp_path):
    touch(tmp_path / "train/cat/a.jpg")
    with pytest.raises(DataError, match=r"split into train and test, set data\.train"):
        read("image_classification", train=str(tmp_path))


def test_empty_class_folders_and_no_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="holds no folders"):
        read("image_classification", train=str(tmp_path))
    (tmp_path / "cat").mkdir()
    with pytest.raises(DataError, match="holds no image"):
        read("image_classification", train=str(tmp_path))


def test_voc_reads_a_folder_or_a_list(tmp_path):
    voc(tmp_path, "a", ("cell", 1, 2, 30, 40), ("dot", 5, 5, 5, 9))
    voc(tmp_path, "b")
    image = str(tmp_path / "images" / "a.jpg")
    whole = read("object_detection", train=str(tmp_path))
    assert whole[0] == {"image": image, "boxes": [[1.0, 2.0, 30.0, 40.0]], "labels": ["cell"]}
    assert whole[1]["boxes"] == []
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("a  1\n")
    assert read("object_detection", train=str(lists / "val.txt")) == whole[:1]


def test_voc_mistakes_name_the_file(tmp_path):
    voc(tmp_path, "a", ("cell", 1, 2, 30, 40))
    (tmp_path / "list.txt").write_text("a\nmissing\n")
    with pytest.raises(DataError, match=r"no annotation file .*missing\.xml"):
        read("object_detection", train=str(tmp_path / "list.txt"))
    (tmp_path / "images" / "a.jpg").rename(tmp_path / "images" / "c.jpg")
    with pytest.raises(DataError, match=r"a\.xml: there is no image 'a'"):
        read("object_detection", train=str(tmp_path))
    (tmp_path / "annotations" / "a.xml").write_text("<annotation>")
    with pytest.raises(DataError, match=r"a\.xml' is not readable XML"):
        read("object_detection", train=str(tmp_path))
    with pytest.raises(DataError, match=r"options\.images: there is no folder"):
        read("object_detection", train=str(tmp_path), options={"images": "nowhere"})


def coco(folder: Path, **changes: object) -> str:
    content = {
        "images": [{"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "b.jpg"}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"image_id": 7, "category_id": 1, "bbox": [10, 20, 5, 6]},
            {"image_id": 7, "category_id": 1, "bbox": [10, 20, 0, 6]},
            {"image_id": 7, "category_id": 1, "bbox": [1, 1, 9, 9], "iscrowd": 1},
        ],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps({**content, **changes}))
    return str(path)


def test_coco_boxes_become_corners(tmp_path):
    files = [touch(tmp_path / "images" / name) for name in ("a.jpg", "b.jpg")]
    assert read("object_detection", train=coco(tmp_path)) == [
        {"image": files[0], "boxes": [[10.0, 20.0, 15.0, 26.0]], "labels": ["cat"]},
        {"image": files[1], "boxes": [], "labels": []},
    ]


def test_coco_mistakes_are_explained(tmp_path):
    with pytest.raises(DataError, match=r"image 'a\.jpg': there is no file"):
        read("object_detection", train=coco(tmp_path))
    with pytest.raises(DataError, match="is not COCO: KeyError"):
        read("object_detection", train=coco(tmp_path, categories=[]))


def test_boxes_in_json_lines_are_checked(tmp_path):
    touch(tmp_path / "a.jpg")
    row = {"image": "a.jpg", "boxes": [[1, 2, 3, 4]], "labels": ["cat"]}
    path = tmp_path / "a.jsonl"
    for boxes, labels, message in (
        ([[1, 2, 3]], ["cat"], r"a box is \[xmin, ymin, xmax, ymax\]"),
        ([[3, 2, 1, 4]], ["cat"], "has no area"),
        ([[1, 2, 3, 4]], [], "1 boxes but 0 labels"),
        ([[1, 2, float("inf"), 4]], ["cat"], "has no area"),
    ):
        path.write_text(json.dumps({**row, "boxes": boxes, "labels": labels}))
        with pytest.raises(DataError, match=message):
            read("object_detection", train=str(path))
    path.write_text(json.dumps(row))
    assert read("object_detection", train=str(path))[0]["boxes"] == [[1.0, 2.0, 3.0, 4.0]]


def test_audio_folder_reads_names_by_pattern(tmp_path):
    file = touch(tmp_path / "sub" / "7_jackson_32.wav")
    pattern = r"(?P<text>\d)_(?P<speaker>[a-z]+)_\d+"
    rows = read(
        "automatic_speech_recognition",
        train=str(tmp_path),
        group_by="speaker",
        options={"pattern": pattern, "spell": {"7": "seven"}},
    )
    assert rows == [{"audio": file, "text": "seven", "speaker": "jackson"}]
    touch(tmp_path / "odd.wav")
    with pytest.raises(DataError, match="the name 'odd' does not fit"):
        read("automatic_speech_recognition", train=str(tmp_path), options={"pattern": pattern})


def test_a_glob_chooses_recordings_by_name(tmp_path):
    for name in ("7_jackson_3.wav", "7_lucas_3.wav", "2_jackson_1.wav"):
        touch(tmp_path / name)
    rows = read(
        "automatic_speech_recognition",
        train=str(tmp_path / "*_jackson_*.wav"),
        format="audio_folder",
        options={"pattern": r"(?P<text>\d)_.*"},
    )
    assert sorted(row["text"] for row in rows) == ["2", "7"]


def test_people_are_the_names_of_folders(tmp_path):
    voice, face = touch(tmp_path / "voices" / "ann" / "1.flac"), touch(tmp_path / "faces" / "ann" / "1.pgm")
    touch(tmp_path / "faces" / "ann" / "2.pgm")
    rows = read("speaker_recognition", train=str(tmp_path / "voices"), group_by="speaker")
    assert rows == [{"audio": voice, "speaker": "ann"}]
    assert len(read("face_recognition", train=str(tmp_path / "faces"), group_by="identity")) == 2
    some = read("face_recognition", train=str(tmp_path / "faces" / "*" / "1.pgm"), format="image_folder")
    assert some == [{"image": face, "identity": "ann"}]


def test_audio_folder_takes_words_from_folders(tmp_path):
    file = touch(tmp_path / "yes" / "0a7c.wav")
    assert read("automatic_speech_recognition", train=str(tmp_path)) == [{"audio": file, "text": "yes"}]
    touch(tmp_path / "0.wav")
    with pytest.raises(DataError, match="lies in no folder that says its text"):
        read("automatic_speech_recognition", train=str(tmp_path))


@pytest.mark.parametrize(
    ("pattern", "error", "message"),
    [
        ("(", RecipeError, "is not a regular expression"),
        (r"\d+", RecipeError, "names no field"),
        (r"(?P<word>\d)", DataError, "has no group for 'text'"),
    ],
)
def test_bad_patterns_are_refused(tmp_path, pattern, error, message):
    touch(tmp_path / "7.wav")
    with pytest.raises(error, match=message):
        read("automatic_speech_recognition", train=str(tmp_path), options={"pattern": pattern})


def test_a_format_without_the_fields_says_so(tmp_path):
    touch(tmp_path / "cat" / "a.jpg")
    with pytest.raises(DataError, match="this format has no field 'boxes'"):
        read("object_detection", train=str(tmp_path), format="image_folder")
