"""A table of recordings: csv or tsv with a file name, what is said and, if wanted, who says it.

The file column is called ``audio``, ``file``, ``file_name``, ``filename`` or ``path`` unless data.columns maps it. File
names are relative to the table's folder, or to ``options.media_root``.
"""

from pathlib import Path

from bigray.data.readers._delimited import Delimited


class AudioTable(Delimited):
    """A csv or tsv, told apart by the file ending."""

    def delimiter_of(self, path: Path) -> str:
        """Return a comma for ``.csv`` (and ``.csv.gz``), else a tab."""
        return "," if ".csv" in path.suffixes else "\t"


READER = AudioTable("\t")
