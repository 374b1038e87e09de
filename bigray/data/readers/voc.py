"""Boxes in Pascal VOC XML, one file per image, as LabelImg and CVAT write them.

The source is a folder, then every XML file in it counts, or a text file that lists the images of a split, one name
without ending per line (the official ``ImageSets/Main/train.txt`` too). So train and validation are two lists over the
same images. Coordinates are taken as they are; boxes without area are left out (BCCD has two). An image without
objects stays: it teaches what is no object. Source: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET  # expat limits entity expansion itself since 2.4.1
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from bigray.data.options import Options
from bigray.data.readers.base import IMAGE_SUFFIXES, Reader, Request, Row, files_in, open_text
from bigray.errors import DataError

IMAGE_FOLDERS = ("images", "JPEGImages", ".")
XML_FOLDERS = ("annotations", "Annotations", "xml", ".")
LEVELS_UP = 3
"""How far above a list the image and annotation folders are looked for: ImageSets/Main/train.txt needs three."""


class VocOptions(Options):
    """Where things lie, and which objects count."""

    images: str | None = None
    """Folder of images, relative to the source's folder; by default ``images``, ``JPEGImages`` or that folder."""
    annotations: str | None = None
    """Folder of XML files; by default ``annotations``, ``Annotations``, ``xml`` or the source's folder itself."""
    keep_difficult: bool = True
    """Whether objects marked difficult are kept."""


class Voc(Reader):
    """Reads one image's objects at a time."""

    Options: ClassVar[type[Options]] = VocOptions

    def read(self, request: Request) -> Iterator[Row]:
        """Yield one row per image."""
        source, options = Path(request.source), request.options
        if source.is_file():
            root = source.parent
            listed = _listed(source)
        elif source.is_dir():
            root, listed = source, None
        else:
            raise DataError(f"There is no folder or list of images {str(source)!r}.")
        notes = _folder(root, options.annotations, XML_FOLDERS, (".xml",), "annotations")
        pictures = _folder(root, options.images, IMAGE_FOLDERS, IMAGE_SUFFIXES, "images")
        files = {os.path.splitext(os.path.basename(path))[0]: path for path in files_in(pictures, IMAGE_SUFFIXES)}
        stems = listed or [Path(path).stem for path in files_in(notes, (".xml",))]
        for stem in stems:
            path = notes / f"{stem}.xml"
            tree = _parse(path)
            image = files.get(stem) or files.get(Path(tree.findtext("filename") or "").stem)
            if image is None:
                raise DataError(f"{path}: there is no image {stem!r} in {str(pictures)!r}.")
            boxes, labels = [], []
            for item in tree.iter("object"):
                box = _box(item, path)
                if box is None or (not options.keep_difficult and item.findtext("difficult") == "1"):
                    continue
                boxes.append(box)
                labels.append(item.findtext("name") or "")
            yield request.row({request.media or "image": image, "boxes": boxes, "labels": labels}, str(path))


def _listed(source: Path) -> list[str]:
    with open_text(source) as file:
        names = [line.split()[0] for line in file if line.strip()]
    if not names:
        raise DataError(f"{str(source)!r} lists no images.")
    return [os.path.splitext(name)[0] if name.lower().endswith((*IMAGE_SUFFIXES, ".xml")) else name for name in names]


def _folder(root: Path, given: str | None, usual: tuple[str, ...], suffixes: tuple[str, ...], option: str) -> Path:
    if given is not None:
        folder = root / Path(given).expanduser()
        if not folder.is_dir():
            raise DataError(f"options.{option}: there is no folder {str(folder)!r}.", pointer=f"data.options.{option}")
        return folder
    for base in (root, *root.parents[: LEVELS_UP - 1]):
        for name in usual:
            folder = base / name
            if folder.is_dir() and files_in(folder, suffixes):
                return folder
    raise DataError(
        f"Found no {option} ({', '.join(suffixes)}) in {str(root)!r} or its folders {', '.join(usual[:-1])}. "
        f"Set options.{option}.",
        pointer=f"data.options.{option}",
    )


def _parse(path: Path) -> ET.Element:
    try:
        return ET.parse(path).getroot()
    except FileNotFoundError:
        raise DataError(f"There is no annotation file {str(path)!r}.") from None
    except (ET.ParseError, OSError, ValueError) as error:
        raise DataError(f"{str(path)!r} is not readable XML: {error}.") from None


def _box(item: ET.Element, path: Path) -> list[float] | None:
    try:
        xmin, ymin, xmax, ymax = (
            float(item.findtext(f"bndbox/{key}") or "") for key in ("xmin", "ymin", "xmax", "ymax")
        )
    except ValueError:
        name = item.findtext("name")
        raise DataError(f"{path}: object {name!r} has no bndbox of four numbers (xmin, ymin, xmax, ymax).") from None
    return [xmin, ymin, xmax, ymax] if xmax > xmin and ymax > ymin else None


READER = Voc()
