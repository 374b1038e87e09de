import io
import sys
import tarfile

import numpy as np
import pytest
import soundfile
from PIL import Image

from bigray import plugins
from bigray.data.catalogue import rated_sentences
from bigray.errors import DataError, MissingPackage

PACKAGE = "bigray.data.catalogue"


def entry(name):
    return plugins.load(PACKAGE, name).ENTRY


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BIGRAY_CACHE", str(tmp_path))
    return tmp_path


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def archive(**texts: str) -> bytes:
    ratings = {
        f"hutto_ICWSM_2014/{origin}_GroundTruth.txt": texts.get(origin, "").encode()
        for origin in rated_sentences.ORIGINS
    }
    return packed({rated_sentences.INNER: packed(ratings)})


def test_digits_are_real_and_labelled():
    rows = entry("digits").rows()
    assert len(rows) == 1797
    assert {row["label"] for row in rows} == set("0123456789")
    image = np.asarray(Image.open(io.BytesIO(rows[0]["image"])))
    assert (image.shape, image.dtype, image.max()) == ((8, 8), np.uint8, 239)


def test_rated_sentences_become_two_classes_without_doubles():
    rows = rated_sentences.parse(
        archive(
            tweets="1\t2.5\tSo &amp; lucky\n2\t-1.0\tBad day\n3\t0.4\tA day\n4\t3.0\tBAD day\n",
            nytEditorialSnippets="9_2\t1.0\tGood news\n",
        )
    )
    assert [(row["text"], row["label"], row["document"]) for row in rows] == [
        ("Good news", "positive", "nytEditorialSnippets-9"),
        ("So & lucky", "positive", "tweets-1"),
        ("Bad day", "negative", "tweets-2"),
    ]


def test_a_changed_archive_is_refused(cache):
    (cache / "packages").mkdir()
    (cache / "packages" / rated_sentences.ARCHIVE).write_bytes(archive())
    with pytest.raises(DataError, match="is damaged: its sha256"):
        entry("rated_sentences").rows()


def test_a_failed_fetch_says_what_to_do(cache, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(DataError, match=r"could not be fetched: .*put vaderSentiment-2\.5\.tar\.gz into"):
        entry("rated_sentences").rows()
    assert list((cache / "packages").iterdir()) == []


def test_spoken_words_are_made_once(cache, monkeypatch):
    pytest.importorskip("espeakng_loader")
    module = plugins.load(PACKAGE, "spoken_words")
    monkeypatch.setattr(module, "ACCENTS", ("en-us", "en"))
    monkeypatch.setattr(module, "VARIANTS", ("m1", "f2"))
    rows = module.ENTRY.rows()
    assert len(rows) == 48
    assert {row["speaker"] for row in rows} == {"en-us+m1", "en-us+f2", "en+m1", "en+f2"}
    samples, rate = soundfile.read(io.BytesIO(rows[0]["audio"]))
    assert (rate, samples.ndim) == (16_000, 1)
    assert 0.1 < len(samples) / rate < 2
    assert np.abs(samples).max() > 0.05
    monkeypatch.setattr(module, "WORDS", ())  # a second call reads the cache
    assert module.ENTRY.rows() == rows


def test_voices_have_sentences_and_are_made_once(cache, monkeypatch):
    pytest.importorskip("espeakng_loader")
    module = plugins.load(PACKAGE, "voices")
    monkeypatch.setattr(module, "ACCENTS", ("en-us",))
    monkeypatch.setattr(module, "VARIANTS", ("m1", "f2"))
    rows = module.ENTRY.rows()
    assert len(rows) == 2 * len(module.SENTENCES)
    assert {row["speaker"] for row in rows} == {"en-us+m1", "en-us+f2"}
    samples, rate = soundfile.read(io.BytesIO(rows[0]["audio"]))
    assert rate == 8_000
    assert 1 < len(samples) / rate < 6
    monkeypatch.setattr(module, "SENTENCES", ())
    assert module.ENTRY.rows() == rows


def test_announcements_are_all_different_and_made_once(cache, monkeypatch):
    pytest.importorskip("espeakng_loader")
    module = plugins.load(PACKAGE, "announcements")
    monkeypatch.setattr(module, "COUNT", 6)
    rows = module.ENTRY.rows()
    assert len({row["text"] for row in rows}) == 6
    for row in rows:
        samples, rate = soundfile.read(io.BytesIO(row["audio"]))
        assert rate == 16_000
        assert 0.5 < len(samples) / rate < 4
    monkeypatch.setattr(module, "COUNT", 0)
    assert module.ENTRY.rows() == rows


def test_drawn_faces_are_of_people(monkeypatch):
    module = plugins.load(PACKAGE, "faces")
    monkeypatch.setattr(module, "PEOPLE", 3)
    rows = module.ENTRY.rows()
    assert len(rows) == 3 * module.PICTURES
    assert {row["identity"] for row in rows} == {"person-00", "person-01", "person-02"}
    pictures = np.stack([np.asarray(Image.open(io.BytesIO(row["image"])), dtype=np.float32) for row in rows])
    assert pictures.shape[1:] == (48, 48, 3)
    assert len({row["image"] for row in rows}) == len(rows)
    assert module.ENTRY.rows() == rows


def test_speak_refuses_unknown_voices():
    pytest.importorskip("espeakng_loader")
    from bigray.data.generate import speak

    for voice in ("xx-nowhere", "en-us+nosuchvariant"):
        with pytest.raises(DataError, match="no voice"):
            speak("hello", voice)
    slow, rate = speak("hello there", rate_wpm=100)
    fast, _ = speak("hello there", rate_wpm=300)
    assert rate == 22_050
    assert slow.dtype == np.float32
    assert len(slow) > 1.3 * len(fast)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(MissingPackage, match="pip install espeakng-loader"):
        entry("spoken_words").check()


def test_a_cache_that_cannot_be_made_says_so(tmp_path, monkeypatch):
    from bigray.data import cache

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BIGRAY_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="Set BIGRAY_CACHE"):
        cache.folder("x")
