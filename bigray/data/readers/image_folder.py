"""A folder per class (or person): ``SOURCE/<class>/<image>``. Give data/train and data/test as sources of their own.

A glob may name images one by one, as ``faces/*/[1-8].png``; the class is the folder an image lies in.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from bigray.data.readers.base import IMAGE_SUFFIXES, Reader, Request, Row, files_in
from bigray.errors import DataError


class ImageFolder(Reader):
    """Takes the class from the name of the folder."""

    def read(self, request: Request) -> Iterator[Row]:
        """Yield rows class by class, in the order of names."""
        root = Path(request.source)
        if root.is_file():  # a glob gives images one by one
            yield request.row({request.media or "image": str(root), request.named: root.parent.name}, str(root))
            return
        classes = class_folders(root)
        for folder in classes:
            images = files_in(folder, IMAGE_SUFFIXES)
            if not images:
                raise DataError(_why_empty(root, folder))
            for image in images:
                yield request.row({request.media or "image": image, request.named: folder.name}, image)


def class_folders(root: Path) -> list[Path]:
    """Return the sorted folders of a folder.

    Raises:
        DataError: It is no folder, or holds none.
    """
    if not root.is_dir():
        raise DataError(f"There is no folder {str(root)!r}. Give a folder that holds one folder per class.")
    folders = sorted(Path(entry.path) for entry in os.scandir(root) if entry.is_dir() and entry.name[0] not in "._")
    if not folders:
        raise DataError(f"{str(root)!r} holds no folders. Its images must lie in one folder per class.")
    return folders


def _why_empty(root: Path, folder: Path) -> str:
    inner = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    if inner:
        return (
            f"{str(folder)!r} holds folders ({', '.join(sorted(inner)[:3])}, ...) and no images. If {str(root)!r} is "
            f"split into train and test, set data.train and data.test to those, e.g. {str(folder)!r}."
        )
    return f"The class folder {str(folder)!r} holds no image ({', '.join(IMAGE_SUFFIXES)}). Remove it, or fill it."


READER = ImageFolder()
