"""Real sentences of film and product reviews, tweets and editorials with a mean sentiment rating: ``text``, ``label``.

Twenty people rated each sentence from -4 to 4. A mean of 1 or more makes the label positive, -1 or less negative; what
lies between is left out, as its raters saw little sentiment or disagreed. A text occurs once, so no text is in two
splits. Two extra fields: ``origin`` (tweets, movieReviewSnippets, ...) and ``document``, the review or article a
sentence is from, for ``data.group_by``.

Origin: C.J. Hutto and E. Gilbert, VADER, ICWSM 2014; in the source archive of the package vaderSentiment 2.5, MIT. The
film sentences are those of Pang and Lee 2005 (Rotten Tomatoes), on which SST is built as well: do not measure a model
trained on one on the other.
"""

from __future__ import annotations

import hashlib
import html
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import ClassVar

from bigray.data import cache
from bigray.data.catalogue.base import Entry, Row
from bigray.errors import DataError

REQUIREMENT = "vaderSentiment==2.5"
ARCHIVE = "vaderSentiment-2.5.tar.gz"
SHA256 = "b960c954831f5ca58afee61780cc04ed48e551b91e783bfcbfb2c18bb8081a84"
INNER = "vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz"
ORIGINS = ("movieReviewSnippets", "amazonReviewSnippets", "nytEditorialSnippets", "tweets")
THRESHOLD = 1.0
"""Mean rating, of -4 to 4, from which a sentence counts as positive (or, negated, negative)."""
TIMEOUT_S = 120


class RatedSentences(Entry):
    """Fetched once, checked against its digest, then read from the cache."""

    fields: ClassVar[tuple[str, ...]] = ("text", "label", "origin", "document")

    def rows(self) -> list[Row]:
        """Return 15,759 rows."""
        archive = cache.folder("packages") / ARCHIVE
        if not archive.is_file():
            _fetch(archive)
        return parse(_checked(archive))


def parse(archive: bytes) -> list[Row]:
    """Read the rows out of the package's source archive; nothing is unpacked to disk."""
    rows: dict[str, Row] = {}
    with tarfile.open(fileobj=io.BytesIO(_member(archive, INNER))) as inner:
        for origin in ORIGINS:
            file = inner.extractfile(f"hutto_ICWSM_2014/{origin}_GroundTruth.txt")
            if file is None:
                raise DataError(f"{ARCHIVE} holds no ratings of {origin}.")
            for line in file.read().decode("utf-8").splitlines():
                number, rating, text = line.split("\t")
                if abs(float(rating)) < THRESHOLD:
                    continue
                text = html.unescape(text).strip()
                label = "positive" if float(rating) > 0 else "negative"
                document = f"{origin}-{number.partition('_')[0]}"
                rows.setdefault(text.lower(), {"text": text, "label": label, "origin": origin, "document": document})
    return list(rows.values())


def _member(archive: bytes, name: str) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as outer:
        file = outer.extractfile(name)
        if file is None:
            raise DataError(f"{ARCHIVE} holds no {name}.")
        return file.read()


def _checked(archive: Path) -> bytes:
    data = archive.read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise DataError(
            f"{str(archive)!r} is damaged: its sha256 is not {SHA256}. Delete it; it is then fetched again."
        )
    return data


def _fetch(archive: Path) -> None:
    """Let pip, as it is configured here, fetch the source archive; its digest is checked before it is touched."""
    with tempfile.TemporaryDirectory() as scratch:
        wanted = Path(scratch) / "wanted.txt"
        wanted.write_text(f"{REQUIREMENT} --hash=sha256:{SHA256}\n", encoding="utf-8")
        command = [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:",
            "--require-hashes", "--dest", scratch, "--requirement", str(wanted),
        ]  # fmt: skip
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
            reason = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["pip failed"])[-1]
        except (OSError, subprocess.TimeoutExpired) as error:
            reason = str(error)
        fetched = Path(scratch) / ARCHIVE
        if reason or not fetched.is_file():
            raise DataError(
                f"catalogue:rated_sentences could not be fetched: {reason or 'pip brought no file'}. It needs pip and a "
                f"package index once; or put {ARCHIVE} into {str(archive.parent)!r} yourself."
            )
        cache.write(archive, fetched.read_bytes())


ENTRY = RatedSentences()
