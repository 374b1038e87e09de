"""Whether two answers to one input say the same, going by their kind: what a caller would act on, not the last decimal.

===================  =====================================================================================
labels               the same label comes first
objects              at least 8 of 10 have a partner of their label with half of the area in common
texts                at least 9 of 10 words are the same, in order, whatever their case
stretches of text    half of the characters in common, or the same words
sounds               lengths within a tenth, mel-cepstral distance of 2 dB at most
embeddings           the same decision where one was asked for; else a cosine of 0.9
anything else        equal, numbers within 0.05
===================  =====================================================================================
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from bigray.schemas import Answer, Box, Detection, Label, Recognition, Speech, Summary, Transcript, Translation

OVERLAP = 0.5
"""Of two boxes: intersection over union, as COCO's easiest threshold."""
MATCHED = 0.8
WORDS = 0.9
COSINE = 0.9
LENGTH = 0.9
SOUND_DB = 2.0
"""Two readings of a text by different people are 5 dB and more apart."""
TOLERANCE = 0.05


def alike(one: Any, other: Any) -> bool:
    """Say whether two answers of one task agree; ``one`` is the yardstick where it makes a difference."""
    if isinstance(one, list) and isinstance(other, list):
        kinds = {type(item) for item in (*one, *other)}
        if kinds == {Label}:
            return bool(one and other) and one[0].label == other[0].label
        if kinds == {Detection}:
            return _same_objects(one, other)
        if kinds == {Answer}:
            return bool(one and other) and _same_stretch(one[0], other[0])
    if isinstance(one, Answer) and isinstance(other, Answer):
        return _same_stretch(one, other)
    for kind, field in ((Transcript, "text"), (Translation, "translation_text"), (Summary, "summary_text")):
        if isinstance(one, kind) and isinstance(other, kind):
            return _same_words(getattr(one, field), getattr(other, field))
    if isinstance(one, Speech) and isinstance(other, Speech):
        return _same_sound(one, other)
    if isinstance(one, Recognition) and isinstance(other, Recognition):
        return _same_person(one, other)
    return _equal(_plain(one), _plain(other))


def _same_objects(one: Sequence[Detection], other: Sequence[Detection]) -> bool:
    left = list(other)
    matched = 0
    for item in sorted(one, key=lambda found: -found.score):
        near = [found for found in left if found.label == item.label]
        best = max(near, key=lambda found: overlap(found.box, item.box), default=None)
        if best is not None and overlap(best.box, item.box) >= OVERLAP:
            left.remove(best)
            matched += 1
    return 2 * matched >= MATCHED * (len(one) + len(other))


def overlap(one: Box, other: Box) -> float:
    """Return intersection over union, 0 to 1."""
    width = min(one.xmax, other.xmax) - max(one.xmin, other.xmin)
    height = min(one.ymax, other.ymax) - max(one.ymin, other.ymin)
    shared = max(0.0, width) * max(0.0, height)
    total = _area(one) + _area(other) - shared
    return shared / total if total > 0 else float(one == other)


def _area(box: Box) -> float:
    return max(0.0, box.xmax - box.xmin) * max(0.0, box.ymax - box.ymin)


def _same_words(one: str, other: str) -> bool:
    first, second = one.casefold().split(), other.casefold().split()
    return first == second or difflib.SequenceMatcher(None, first, second, autojunk=False).ratio() >= WORDS


def _same_stretch(one: Answer, other: Answer) -> bool:
    shared = min(one.end, other.end) - max(one.start, other.start)
    whole = max(one.end, other.end) - min(one.start, other.start)
    return shared > OVERLAP * whole or one.answer.casefold().split() == other.answer.casefold().split()


def _same_sound(one: Speech, other: Speech) -> bool:
    from bigray import metrics
    from bigray.tasks._speech import decode_audio
    from bigray.tasks._vocoder import mel_spectrogram

    if one.audio == other.audio:
        return True
    rate, bands = 16_000, 40
    lengths = sorted(len(sound.audio) / sound.sampling_rate for sound in (one, other))
    if lengths[0] < LENGTH * lengths[1]:
        return False
    far = metrics.synthesis(one.audio, other.audio, lambda data: mel_spectrogram(decode_audio(data, rate), rate, bands))
    return far[0] <= SOUND_DB


def _same_person(one: Recognition, other: Recognition) -> bool:
    if one.verified != other.verified:
        return False
    if one.matches is not None or other.matches is not None:
        return [match.label for match in one.matches or ()][:1] == [match.label for match in other.matches or ()][:1]
    if one.verified is not None:
        return True
    if len(one.embedding) != len(other.embedding):
        return False
    lengths = math.hypot(*one.embedding) * math.hypot(*other.embedding)
    return sum(a * b for a, b in zip(one.embedding, other.embedding, strict=True)) >= COSINE * lengths


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    numbers = isinstance(one, int | float) and isinstance(other, int | float)
    if numbers and not (isinstance(one, bool) or isinstance(other, bool)):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(one == other)
