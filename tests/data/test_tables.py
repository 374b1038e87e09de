import gzip
import json
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bigray.errors import DataError, MissingPackage, RecipeError, UnknownPlugin
from tests.data.rows import read

TASK = "text_classification"
GOOD = [{"text": "a fine film", "label": "1"}, {"text": 'dull, "flat"', "label": "0"}]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_csv_with_names_quotes_and_a_byte_order_mark(tmp_path):
    source = write(tmp_path / "a.csv", '\ufeffid,text,label\n7,a fine film,1\n\n8,"dull, ""flat""",0\n')
    assert read(TASK, train=source) == GOOD


def test_csv_field_with_line_breaks(tmp_path):
    source = write(tmp_path / "a.csv", 'text,label\n"one\ntwo",1\n')
    assert read(TASK, train=source) == [{"text": "one\ntwo", "label": "1"}]


def test_tsv_without_names_and_with_plain_quotes(tmp_path):
    source = write(tmp_path / "a.tsv", 'a fine film\t1\ndull, "flat"\t0\n')
    assert read(TASK, train=source, columns={"text": 0, "label": 1}) == GOOD


def test_numbered_columns_skip_a_line_of_names(tmp_path):
    source = write(tmp_path / "a.tsv", "sentence\tlabel\na fine film\t1\n")
    assert read(TASK, train=source, columns={"text": 0, "label": 1}) == GOOD[:1]


def test_columns_mapped_by_name_and_label_names(tmp_path):
    source = write(tmp_path / "a.csv", "sentence,category\na fine film,1\n")
    rows = read(TASK, train=source, columns={"text": "sentence", "label": "category"}, label_names={"1": "positive"})
    assert rows == [{"text": "a fine film", "label": "positive"}]


@pytest.mark.parametrize("packed", [False, True])
def test_jsonl(tmp_path, packed):
    text = "".join(json.dumps(row) + "\n" for row in [{"text": "a", "label": 1, "x": 2}, {"text": "b", "label": 0.0}])
    path = tmp_path / ("a.jsonl.gz" if packed else "a.jsonl")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert read(TASK, train=str(path)) == [{"text": "a", "label": "1"}, {"text": "b", "label": "0"}]


def test_parquet_reads_text(tmp_path):
    pq.write_table(pa.table({"text": ["a", "b"], "label": [1, 0], "other": [1.5, 2.5]}), tmp_path / "a.parquet")
    rows = read(TASK, train=str(tmp_path / "a.parquet"))
    assert rows == [{"text": "a", "label": "1"}, {"text": "b", "label": "0"}]


def test_parquet_media_bytes_move_into_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BIGRAY_CACHE", str(tmp_path / "cache"))
    table = pa.table({"image": [{"bytes": b"one", "path": None}, {"bytes": b"two", "path": "x"}], "label": ["a", "b"]})
    pq.write_table(table, tmp_path / "a.parquet")
    rows = read("image_classification", train=str(tmp_path / "a.parquet"))
    contents = []
    for row in rows:
        with open(row["image"], "rb") as file:
            contents.append(file.read())
    assert contents == [b"one", b"two"]


def test_a_folder_and_a_glob_join_their_tables(tmp_path):
    for name in "ba":
        write(tmp_path / f"{name}.csv", f"text,label\n{name},1\n")
    assert [row["text"] for row in read(TASK, train=str(tmp_path))] == ["a", "b"]
    assert [row["text"] for row in read(TASK, train=str(tmp_path / "*.csv"))] == ["a", "b"]


def test_rows_are_read_one_at_a_time(tmp_path):
    # check looks at the first row only: the broken last line is found by reading, not before
    source = write(tmp_path / "a.csv", "text,label\n" + "a,1\n" * 5 + "broken\n")
    with pytest.raises(DataError, match=r"line 7: 1 column\(s\) where the first line has 2"):
        read(TASK, train=source)


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("a.csv", "text,lable\na,1\n", {}, r"no column 'label'.*did you mean 'lable'\? Columns: 'text', 'lable'"),
        ("a.csv", "text,label\na, \n", {}, "line 2: 'label' is empty"),
        ("a.csv", "text,label\n", {}, "holds no rows"),
        ("a.csv", "", {}, "holds no rows"),
        ("a.csv", 'text,label\n"a"b,1\n', {}, "line 2: .*options.quoted"),
        ("a.csv", 'text,label\n"never closed,1\nb,0\n', {}, "line 3: .*options.quoted"),
        ("a.csv", "a,1\n", {"columns": {"text": 0, "label": 5}}, r"column 5, but .* has 2 \(0 to 1\)"),
        ("a.csv", "a,1\n", {"header": False}, "no column names.*columns: {text: 0, label: 1}"),
        ("a.csv", "text,label\na,1\n", {"columns": {"txt": "text"}}, "'txt' is no field.*did you mean 'text'"),
        ("a.csv", "text,label\na,1\n", {"labels": ["0", "one"]}, "line 2: label '1' is not in data.labels"),
        ("a.csv", "text,label\na,1\n", {"group_by": "speaker"}, r"no column 'speaker'.*\(group_by\)"),
        ("a.jsonl", '{"text": "a", "label": 1}\n{"text": \n', {}, "line 2: not valid JSON"),
        ("a.jsonl", "[1]\n", {}, "line 1: each line is one JSON object, got a list"),
        ("a.jsonl", '{"text": ["a"], "label": 1}\n', {}, "line 1: 'text' must be text, got a list"),
        ("a.parquet", "no parquet", {}, "cannot be read as parquet"),
        ("a.xlsx", "x", {}, "no format is known by this ending.*set data.format"),
    ],
)
def test_mistakes_are_explained(tmp_path, name, text, options, message):
    source = write(tmp_path / name, text)
    with pytest.raises(DataError, match=message):
        read(TASK, train=source, **options)


def test_text_in_another_encoding_needs_to_be_told(tmp_path):
    (tmp_path / "a.csv").write_bytes("text,label\ncafé,1\n".encode("cp1252"))
    with pytest.raises(DataError, match=r"is not utf-8 text. Set options\.encoding"):
        read(TASK, train=str(tmp_path / "a.csv"))
    rows = read(TASK, train=str(tmp_path / "a.csv"), options={"encoding": "cp1252"})
    assert rows[0]["text"] == "café"


def test_a_missing_source_names_what_is_there(tmp_path):
    write(tmp_path / "train.csv", "text,label\na,1\n")
    with pytest.raises(DataError, match=r"no file or folder.*holds: train\.csv"):
        read(TASK, train=str(tmp_path / "trian.csv"))
    with pytest.raises(DataError, match="No file fits"):
        read(TASK, train=str(tmp_path / "*.tsv"))


def test_unknown_settings_of_a_reader_are_refused(tmp_path):
    source = write(tmp_path / "a.csv", "text,label\na,1\n")
    with pytest.raises(RecipeError, match=r"data\.options\.delimeter: unknown setting; did you mean 'delimiter'"):
        read(TASK, train=source, options={"delimeter": ";"})


def test_a_table_of_recordings_finds_its_files(tmp_path):
    (tmp_path / "wav").mkdir()
    (tmp_path / "wav" / "a.wav").write_bytes(b"RIFF")
    source = write(tmp_path / "meta.tsv", "file\tspeaker\ttext\na.wav\tanna\thello\n")
    settings = {"train": source, "format": "audio_table", "group_by": "speaker"}
    rows = read("automatic_speech_recognition", **settings, options={"media_root": "wav"})
    assert rows == [{"audio": str(tmp_path / "wav/a.wav"), "text": "hello", "speaker": "anna"}]
    with pytest.raises(DataError, match=r"meta\.tsv, line 2: there is no file .*a\.wav"):
        read("automatic_speech_recognition", **settings)


def test_hub_names_are_checked_and_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingPackage, match="pip install datasets"):
        read(TASK, train="hub:owner/name")
    with pytest.raises(DataError, match="hub:owner/name, got"):
        read(TASK, train="hub:justname")


def test_unknown_catalogue_names_list_the_known():
    with pytest.raises(UnknownPlugin, match="Did you mean 'digits'"):
        read("image_classification", train="catalogue:digit")
    with pytest.raises(DataError, match="has no field 'text'; it has image, label"):
        read(TASK, train="catalogue:digits")
