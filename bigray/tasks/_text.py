"""What the text tasks share: cleaning, tokenizers as files, windows, padding. No torch, no transformers in a replica."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from tokenizers import Tokenizer

from bigray.errors import InvalidInput, TooLarge
from bigray.tasks.base import State, Task, Vocabulary

MAX_CHARACTERS = 100_000
"""Longest text accepted, counted after Unicode normalisation (NFC)."""
STEP = 8
"""Lengths of padded texts are multiples of this many tokens."""
PAD, UNKNOWN = "[PAD]", "[UNK]"
TOKENIZER_FILE = "tokenizer.json"
SENTENCE_END = re.compile(r"(?<=[.!?\u2026\u3002])(?P<closing>[\"')\]\u201d\u2019]*)\s+|\n+")


def check_text(value: object, pointer: str = "/inputs") -> str:
    """Return the text in Unicode NFC.

    Raises:
        InvalidInput: Not text, empty, or holding lone surrogates.
        TooLarge: Over `MAX_CHARACTERS`.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{pointer} must be text.", code="wrong_type", pointer=pointer)
    if len(value) > MAX_CHARACTERS:
        raise TooLarge(
            f"Text has {len(value)} characters; at most {MAX_CHARACTERS} are accepted.", code="text_too_long"
        )
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InvalidInput("Text holds a lone surrogate, which is no character.", code="invalid_text") from None
    text = unicodedata.normalize("NFC", value)
    if not text.strip():
        raise InvalidInput("Text is empty.", code="empty_text", pointer=pointer)
    return text


def train_tokenizer(texts: Iterable[str], vocabulary_size: int = 8000, special: Sequence[str] = ()) -> Tokenizer:
    """Learn a WordPiece tokenizer (Schuster and Nakajima 2012) from the user's own corpus.

    Id 0 is padding, id 1 stands for the unknown, ``special`` markers follow. Text is lower-cased and stripped of accents,
    as BERT's uncased models.
    """
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size, special_tokens=[PAD, UNKNOWN, *special], show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def sentence_places(text: str) -> list[tuple[int, int]]:
    """Return where each sentence begins and ends, in characters; paragraphs end sentences, and blanks are in none."""
    ends = list(SENTENCE_END.finditer(text))
    starts = [0, *(end.end() for end in ends)]
    stops = [*(max(end.start(), end.end("closing")) for end in ends), len(text)]
    pieces = [(start, text[start:stop]) for start, stop in zip(starts, stops, strict=True)]
    return [
        (start + len(piece) - len(piece.lstrip()), start + len(piece.rstrip()))
        for start, piece in pieces
        if piece.strip()
    ]


def windows(count: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Return (start, stop) of windows of ``size`` over ``count`` tokens, neighbours sharing at least ``overlap``.

    Every window but a single one is full: the last one is moved back to end with the text, so all weigh the same.

    Raises:
        ValueError: ``overlap`` is not less than ``size``.
    """
    if overlap >= size:
        raise ValueError(f"Windows of {size} cannot overlap by {overlap}.")
    if count <= size:
        return [(0, count)]
    starts = [*range(0, count - size, size - overlap), count - size]
    return [(start, start + size) for start in starts]


def train_subwords(texts: Iterable[str], vocabulary_size: int, special: Sequence[str] = ()) -> Tokenizer:
    """Learn byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909) from the user's own corpus.

    Case and accents stay, and tokens know where a space was, so texts come back as they were written. Id 0 is padding,
    id 1 stands for characters never seen, ``special`` markers follow.
    """
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE(unk_token=UNKNOWN, fuse_unk=True))
    tokenizer.normalizer = normalizers.NFKC()
    marks = pre_tokenizers.Punctuation("isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), marks])
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size, special_tokens=[PAD, UNKNOWN, *special], show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


@dataclass(frozen=True)
class Frame:
    """Markers that a tokenizer's own template puts around one text, or around and between two, as token ids."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    """Empty for a single text."""
    after: tuple[int, ...]
    segments: tuple[int, ...] = ()
    """Segment number of: before, the first text, between, the second text, after."""

    @classmethod
    def of(cls, tokenizer: Tokenizer, *, pair: bool) -> Frame:
        """Find the markers by looking at what becomes of one letter, or two."""
        plain = len(tokenizer.encode("a", add_special_tokens=False).ids)
        encoding = tokenizer.encode("a", "a") if pair else tokenizer.encode("a")
        ids, kinds = encoding.ids, encoding.type_ids
        own = [place for place, text in enumerate(encoding.sequence_ids) if text is not None]
        first, last = own[0], own[-1] + 1
        middle = (first + plain, last - plain) if pair else (last, last)
        places = (max(0, first - 1), first, min(middle[0], len(kinds) - 1), last - 1, len(kinds) - 1)
        return cls(
            tuple(ids[:first]), tuple(ids[slice(*middle)]), tuple(ids[last:]), tuple(kinds[place] for place in places)
        )

    @property
    def width(self) -> int:
        """Tokens that the markers take."""
        return len(self.before) + len(self.between) + len(self.after)


def token_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the tokens of a whole text, without markers; those written in the text, as ``[MASK]``, are treated as text."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return ids


def pad(rows: Sequence[Sequence[int]], pad_id: int, limit: int = 0) -> dict[str, np.ndarray]:
    """Return ``input_ids`` and ``attention_mask``, both (N, T) int64.

    T is the longest row, up to ``limit`` rounded up to a multiple of `STEP`: engines prepare something for each length that
    they meet, and keep it (measured with OpenVINO: 1 MB and 4 ms for each number of rows and length).
    """
    longest = max(1, max(len(row) for row in rows))
    length = max(longest, min(-(-longest // STEP) * STEP, limit))
    ids = np.full((len(rows), length), pad_id, dtype=np.int64)
    mask = np.zeros((len(rows), length), dtype=np.int64)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
    mask[:, 0] = 1  # a text of no known token still has one position to attend to
    return {"input_ids": ids, "attention_mask": mask}


def vocabulary(tokenizer: Tokenizer, pad_id: int) -> Vocabulary:
    """Describe the ids that `tokenize` returns."""
    names = (getattr(tokenizer.model, "unk_token", None), UNKNOWN, "<unk>")
    unknown = next((found for name in names if name and (found := tokenizer.token_to_id(name)) is not None), None)
    special = {pad_id, *tokenizer.get_added_tokens_decoder()} | ({unknown} if unknown is not None else set())
    return Vocabulary("input_ids", tokenizer.get_vocab_size(), unknown, tuple(sorted(special)))


def load_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer.json, without truncation or padding of its own and with special markers treated as text."""
    return plain(Tokenizer.from_file(str(path)))


def plain(tokenizer: Tokenizer) -> Tokenizer:
    """Take truncation and padding of its own from a tokenizer, and let it treat special markers as text."""
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


class TokenTask(Task):
    """A task that reads texts through a tokenizer, which is part of what it learned."""

    pair: ClassVar[bool] = False
    """Whether two texts are read together."""

    def __init__(self, state: State, tokenizer: Tokenizer) -> None:
        super().__init__(state)
        self.tokenizer = tokenizer
        self._frame = Frame.of(tokenizer, pair=self.pair)

    def save(self, directory: Path) -> None:
        """Write task.json and tokenizer.json."""
        super().save(directory)
        self.tokenizer.save(str(directory / TOKENIZER_FILE))

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read back what `save` wrote."""
        state = cls.State.model_validate_json((directory / "task.json").read_text(encoding="utf-8"))
        return cls(state, load_tokenizer(directory / TOKENIZER_FILE))
