"""What the text tasks share: cleaning, tokenizers as files, padding. No torch, no transformers in a replica."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from bigray.errors import InvalidInput, TooLarge
from bigray.tasks.base import Vocabulary

MAX_CHARACTERS = 100_000
"""Longest text accepted, counted after Unicode normalisation (NFC)."""
PAD, UNKNOWN = "[PAD]", "[UNK]"
TOKENIZER_FILE = "tokenizer.json"


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


def train_tokenizer(texts: Iterable[str], vocabulary_size: int = 8000) -> Tokenizer:
    """Learn a WordPiece tokenizer (Schuster and Nakajima 2012) from the user's own corpus.

    Id 0 is padding, id 1 stands for the unknown. Text is lower-cased and stripped of accents, as BERT's uncased models.
    """
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary_size, special_tokens=[PAD, UNKNOWN], show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], max_length: int, pad_id: int) -> dict[str, np.ndarray]:
    """Return ``input_ids`` and ``attention_mask``, both (N, T) int64, T the longest row and at most ``max_length``.

    Longer texts are cut at the end. Markers such as ``[MASK]`` written in a text are treated as text.
    """
    encodings = tokenizer.encode_batch(list(texts))
    rows = [_cut(encoding.ids, max_length) for encoding in encodings]
    length = max(1, max(len(row) for row in rows))
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
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def _cut(ids: list[int], max_length: int) -> list[int]:
    # the last token of a pretrained encoder's input closes the sequence ([SEP], </s>): it must survive the cut
    return ids if len(ids) <= max_length else [*ids[: max_length - 1], ids[-1]]
