"""Texts as characters for a synthesiser: cleaned, numbered, and cut into pieces that are spoken in one go."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Self

from bigray.errors import DataError
from bigray.tasks.base import State

MAX_CHARACTERS = 4_000
"""Different characters that a voice may know."""
SENTENCE_END = re.compile(r"(?<=[.!?;:\u2026\u3002])[\"')\]\u201d\u2019]*\s+|\n+")


class Spelling(State):
    """Which characters there are, and what stands around and between them."""

    characters: tuple[str, ...]
    """Character number i is ``characters[i]``; empty texts are markers."""
    lowercase: bool = True
    edge: int | None = 1
    """Put before and after a text: the silence there is learned like a letter. None: nothing."""
    between: int | None = None
    """Put around every character, as VITS does."""

    @classmethod
    def of(cls, texts: Sequence[str], lowercase: bool) -> Self:
        """Take the characters of training texts. Number 0 is padding, 1 the edge.

        Raises:
            DataError: No letters, or far too many different ones.
        """
        plain = cls(characters=(), lowercase=lowercase)
        found = sorted(set().union(*(plain.normalise(text) for text in texts)))
        if not any(map(str.isalnum, found)):
            raise DataError("The training texts hold no letters or digits. Is the text column right?")
        if len(found) > MAX_CHARACTERS:
            raise DataError(
                f"The training texts hold {len(found)} different characters (at most {MAX_CHARACTERS}). "
                "Is the text column right?"
            )
        return plain.model_copy(update={"characters": ("", "", *found)})

    @property
    def size(self) -> int:
        """Number of classes of characters, markers included."""
        return len(self.characters)

    def normalise(self, text: str) -> str:
        """Return the text with one space between words, compatibility forms unified (NFKC), and lower case if so learned."""
        text = unicodedata.normalize("NFKC", text).replace("\u2019", "'")
        return " ".join((text.lower() if self.lowercase else text).split())

    def clean(self, text: str) -> str:
        """Return the normalised text in known characters: an unknown one loses its accents, or goes."""
        known = set(self.characters)
        kept = []
        for one in self.normalise(text):
            letters = (one,) if one in known else unicodedata.normalize("NFKD", one)
            kept += [letter for letter in letters if letter in known]
        return " ".join("".join(kept).split())

    def tokens(self, text: str) -> list[int]:
        """Return the numbers of a text's characters, with what stands around and between them."""
        number = {one: place for place, one in enumerate(self.characters) if one}
        found = [number[one] for one in self.clean(text)]
        if self.between is not None:
            found = [self.between, *(token for one in found for token in (one, self.between))]
        return found if self.edge is None else [self.edge, *found, self.edge]


def pieces(text: str, longest: int) -> Iterator[str]:
    """Yield a text in pieces of at most ``longest`` characters: cut at ends of sentences, else between words, else anywhere."""
    if len(text) <= longest:
        yield text
        return
    piece = ""
    for sentence in filter(str.strip, SENTENCE_END.split(text)):
        for part in [sentence] if len(sentence) <= longest else _words(sentence, longest):
            if piece and len(piece) + 1 + len(part) > longest:
                yield piece
                piece = ""
            piece = f"{piece} {part}" if piece else part
    if piece:
        yield piece


def _words(sentence: str, longest: int) -> Iterator[str]:
    for word in sentence.split():
        yield from (word[start : start + longest] for start in range(0, len(word), longest))
