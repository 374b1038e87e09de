"""Agreement of two answers: what callers act on counts, and not the last decimal."""

from __future__ import annotations

from typing import Any

import pytest

from bigray.schemas import Answer, Box, Detection, Label, Recognition, Summary, Transcript, Translation
from bigray.tasks._agreement import alike, overlap


def labels(*pairs: tuple[str, float]) -> list[Label]:
    return [Label(label=name, score=score) for name, score in pairs]


def found(label: str, *corners: float) -> Detection:
    return Detection(
        label=label, score=0.9, box=Box(**dict(zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True)))
    )


def said(start: int, end: int, text: str) -> Answer:
    return Answer(answer=text, score=0.5, start=start, end=end)


CAT, DOG = found("cat", 0.0, 0.0, 10.0, 10.0), found("dog", 20.0, 20.0, 30.0, 40.0)
MOVED = found("cat", 0.0, 1.0, 10.0, 10.0)
AWAY = found("cat", 50.0, 50.0, 60.0, 60.0)
LONG = "one two three four five six seven eight nine ten"


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (labels(("good", 0.9), ("bad", 0.1)), labels(("good", 0.6), ("bad", 0.4)), True),
        (labels(("good", 0.51), ("bad", 0.49)), labels(("bad", 0.51), ("good", 0.49)), False),
        (labels(("good", 0.9)), [], False),
        ([], [], True),
        ([CAT, DOG], [DOG, MOVED], True),
        ([CAT, DOG], [CAT], False),
        ([CAT], [AWAY], False),
        ([CAT], [found("dog", 0.0, 0.0, 10.0, 10.0)], False),
        ([], [CAT], False),
        (Transcript(text="Seven  two"), Transcript(text="seven two"), True),
        (Transcript(text="seven two"), Transcript(text="seven too"), False),
        (Translation(translation_text=LONG), Translation(translation_text=LONG.replace("ten", "x")), True),
        (Summary(summary_text=LONG), Summary(summary_text=LONG[:20]), False),
        (Summary(summary_text=""), Summary(summary_text=""), True),
        (said(10, 20, "a"), said(12, 20, "b"), True),
        (said(10, 20, "at nine"), said(40, 47, "At nine"), True),
        (said(10, 20, "at nine"), said(19, 30, "ten"), False),
        ([said(1, 5, "a"), said(6, 9, "b")], [said(1, 5, "a")], True),
        (Recognition(embedding=[1.0, 0.0]), Recognition(embedding=[0.99, 0.1]), True),
        (Recognition(embedding=[1.0, 0.0]), Recognition(embedding=[0.0, 1.0]), False),
        (Recognition(embedding=[1.0]), Recognition(embedding=[1.0, 0.0]), False),
        (Recognition(embedding=[1.0], verified=True), Recognition(embedding=[-1.0], verified=True), True),
        (Recognition(embedding=[1.0], verified=True), Recognition(embedding=[1.0], verified=False), False),
        (
            Recognition(embedding=[1.0], matches=labels(("ann", 0.9))),
            Recognition(embedding=[1.0], matches=labels(("bob", 0.9))),
            False,
        ),
        ({"a": [1.0, "x"]}, {"a": [1.01, "x"]}, True),
        ({"a": [1.0, "x"]}, {"a": [1.2, "x"]}, False),
        ({"a": 1}, {"b": 1}, False),
        (True, 1.0, True),
        (True, False, False),
    ],
)
def test_alike(one: Any, other: Any, same: bool) -> None:
    assert alike(one, other) is same


def test_overlap() -> None:
    assert overlap(CAT.box, CAT.box) == 1.0
    assert overlap(CAT.box, AWAY.box) == 0.0
    assert overlap(CAT.box, found("cat", 0.0, 0.0, 5.0, 10.0).box) == pytest.approx(0.5)


def test_sounds() -> None:
    import numpy as np

    from bigray.schemas import Speech
    from bigray.tasks import _sound

    time = np.arange(8000) / 16_000

    def tone(pitch: float, count: int = 8000) -> Speech:
        samples = 0.3 * np.sin(2 * np.pi * pitch * time[:count])
        return Speech(audio=_sound.write(samples, 16_000, "wav"), sampling_rate=16_000)

    assert alike(tone(440), tone(440))
    assert alike(tone(440), tone(441))
    assert not alike(tone(440), tone(1760))
    assert not alike(tone(440), tone(440, 6000))
