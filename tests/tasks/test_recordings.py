"""Recordings in windows: cut at pauses, or with an overlap, and no word lost or said twice at a seam."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest

from bigray.predictor import Predictor
from bigray.recipe import Data, Model
from bigray.schemas import Chunk, TranscriptionParameters
from bigray.tasks._recordings import Heard, join, quietest, stitch, together, windows
from bigray.tasks.automatic_speech_recognition import MARGIN_FRAMES, STRIDE, TASK

RATE = 8_000


def _noise(seconds: float, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))).astype(np.float32)


def _blocks(sound: np.ndarray, size: int = 4_096) -> Iterator[np.ndarray]:
    return (sound[start : start + size] for start in range(0, len(sound), size))


def test_a_short_recording_is_one_window() -> None:
    (window,) = windows(_blocks(_noise(3)), RATE, 10, 2)
    assert (len(window.samples), window.begin, window.overlap) == (3 * RATE, 0, 0)


def test_windows_end_in_pauses() -> None:
    sound = np.concatenate([_noise(8), _noise(0.5, 0.0005), _noise(9), _noise(0.4, 0.0005), _noise(5)])
    found = list(windows(_blocks(sound), RATE, 10, 2))
    assert [window.overlap for window in found] == [0, 0, 0]
    ends = [(window.begin + len(window.samples)) / RATE for window in found]
    assert 8 < ends[0] < 8.5
    assert 17.5 < ends[1] < 17.9
    assert np.array_equal(np.concatenate([window.samples for window in found]), sound)


def test_windows_overlap_where_nobody_pauses() -> None:
    sound = _noise(24)
    found = list(windows(_blocks(sound), RATE, 10, 2))
    assert [(window.begin // RATE, window.overlap // RATE) for window in found] == [(0, 0), (8, 2), (16, 2)]
    assert np.array_equal(np.concatenate([window.samples[window.overlap :] for window in found]), sound)


def test_a_short_silence_is_no_pause() -> None:
    sound = np.concatenate([_noise(8), _noise(0.12, 0.0), _noise(2)])
    assert quietest(sound, RATE, 7 * RATE) is None


def test_memory_does_not_grow_with_the_length() -> None:
    def peak(minutes: int) -> int:
        tracemalloc.start()
        for _ in windows((_noise(5, seed=n) for n in range(12 * minutes)), RATE, 30, 5):
            pass
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(30) < 1.1 * peak(3)


def _spoken(*words: tuple[str, float]) -> list[Chunk]:
    return [Chunk(text=word, timestamp=(start, start + 0.3)) for word, start in words]


@pytest.mark.parametrize("late", [-0.04, 0.0, 0.04])
@pytest.mark.parametrize("shift", np.arange(0, 1, 0.1).tolist())
def test_timed_words_are_counted_once(shift: float, late: float) -> None:
    """Words every 0.5 s; the windows share 4 s and differ by ``late`` in when a word was."""
    words = [(f"w{number}", shift + number / 2) for number in range(60)]
    left = _spoken(*(one for one in words if one[1] + 0.3 <= 16), ("cu", 15.9))
    right = _spoken(("t", 12.0), *((word, start + late) for word, start in words if start >= 12))
    joined = stitch(left, right, 12, 16)
    assert [word.text for word in joined] == [word for word, _ in words]


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("we went to the old mill", "the old mill by the river", "we went to the old mill by the river"),
        ("press one, two and thr", "two and three. Now four", "press one, two and three. Now four"),
        ("nothing alike", "here at all", "nothing alike here at all"),
        ("", "first words", "first words"),
        ("last words", "", "last words"),
        ("ten twenty ten twenty", "ten twenty thirty", "ten twenty ten twenty thirty"),
    ],
)
def test_words_without_times_are_counted_once(left: str, right: str, expected: str) -> None:
    assert " ".join(join(left.split(), right.split(), 5)) == expected


def test_times_are_given_when_asked_for() -> None:
    found = [
        Heard("a b", tuple(_spoken(("a", 0.0), ("b", 1.0))), 0.0, 0.0),
        Heard("c", tuple(_spoken(("c", 9.0))), 8, 0),
    ]
    assert together(found, timed=True, wanted=False).chunks is None
    answer = together(found, timed=True, wanted=True)
    assert answer.text == "a b c"
    assert [chunk.timestamp[0] for chunk in answer.chunks or ()] == [0.0, 1.0, 9.0]


class _Hears:
    """Stands for a network: it hears a character where a tone of its own sounds, and nothing else."""

    def __init__(self, characters: tuple[str, ...], longest: int = 10**9) -> None:
        self.characters, self.longest = characters, longest

    def run(self, batch: dict[str, np.ndarray], part: str = "") -> dict[str, np.ndarray]:
        features = batch["features"]
        assert features.shape[1] <= self.longest
        steps = features[:, ::STRIDE]
        loud = steps.max(axis=2) > 1.0
        band = steps.argmax(axis=2)
        places = np.linspace(8, 56, len(self.characters)).round()
        nearest = np.abs(band[..., None] - places).argmin(axis=2) + 1
        return {"logits": 9 * np.eye(len(self.characters) + 1, dtype=np.float32)[np.where(loud, nearest, 0)]}


def _sound(task: TASK, text: str, letter_s: float = 0.1) -> np.ndarray:
    """Each letter is a tone in the middle of a mel band of its own, with a little silence after it."""
    from bigray.tasks._speech import mel_filters

    centres = mel_filters(RATE, 256, 64).argmax(axis=0) * RATE / 256
    places = np.linspace(8, 56, len(task.state.characters)).round().astype(int)
    time = np.arange(round(letter_s * RATE)) / RATE
    quiet = np.zeros(round(0.03 * RATE), np.float32)
    tones = {c: np.sin(2 * np.pi * centres[places[n]] * time) for n, c in enumerate(task.state.characters)}
    return np.concatenate([part for c in text for part in (0.3 * tones[c].astype(np.float32), quiet)])


def test_words_across_a_seam_are_right() -> None:
    """A long recording without any pause, cut in the middle of words, is heard as in one piece."""
    words = ["on", "off", "stop", "go", "left", "right", "up", "down"]
    task = TASK.prepare(
        Data(train="unused"), Model(input={"sample_rate": RATE, "vocabulary": "open"}), [{"text": " ".join(words)}]
    )
    text = " ".join(words[n * 5 % 8] for n in range(200))
    sound = _sound(task, text)
    hears = _Hears(task.state.characters)
    whole = task.decode(hears.run(batch := task.encode([{"audio": (sound, RATE)}])), batch)[0].text
    assert whole == text
    frames = round(task.window_s * 100) + 2 * MARGIN_FRAMES
    predictor = Predictor(task, _Hears(task.state.characters, frames))  # type: ignore[arg-type]
    pieces = list(task.split({"audio": (sound, RATE)}))
    assert len(pieces) > 3
    assert all(piece["overlap_s"] == task.overlap_s for piece in pieces[1:])
    (answer,) = predictor.predict([{"audio": (sound, RATE)}], TranscriptionParameters(return_timestamps=True))
    assert answer.text == text
    starts = [chunk.timestamp[0] for chunk in answer.chunks]
    assert starts == sorted(starts)
    assert starts[-1] == pytest.approx(len(sound) / RATE, abs=1.0)
