"""Named data sets that come as Python packages, ``catalogue:name``; bigray/data/catalogue has one file for each."""

from __future__ import annotations

from collections.abc import Iterator

from bigray import plugins
from bigray.data.readers.base import Reader, Request, Row
from bigray.errors import DataError

PACKAGE = "bigray.data.catalogue"


class Catalogue(Reader):
    """Reads rows that an entry makes or fetches."""

    def check(self, request: Request) -> None:
        """Look at the name, the fields and what must be installed; nothing is fetched or made."""
        entry = plugins.load(PACKAGE, request.source).ENTRY
        for field in request.wanted:
            if field not in entry.fields:
                raise DataError(
                    f"catalogue:{request.source} has no field {field!r}; it has {', '.join(entry.fields)}. "
                    "Choose a data set that fits the task."
                )
        entry.check()

    def read(self, request: Request) -> Iterator[Row]:
        """Yield rows in a fixed order."""
        self.check(request)
        for number, row in enumerate(plugins.load(PACKAGE, request.source).ENTRY.rows(), start=1):
            yield request.row(row, f"catalogue:{request.source}, row {number}")


READER = Catalogue()
