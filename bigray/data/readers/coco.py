"""Boxes in one COCO JSON file. Source: https://cocodataset.org/#format-data.

COCO's ``[x, y, width, height]`` become corners. Boxes without area and crowd regions are left out; images without
objects stay.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from bigray.data.options import Options
from bigray.data.readers.base import Reader, Request, Row, open_text
from bigray.errors import DataError


class CocoOptions(Options):
    """Where the images lie."""

    media_root: str | None = None
    """Folder of the images, relative to the JSON file; by default ``images`` beside it, else the file's own folder."""


class Coco(Reader):
    """Reads the file whole, then yields image by image."""

    Options: ClassVar[type[Options]] = CocoOptions

    def read(self, request: Request) -> Iterator[Row]:
        """Yield one row per image, in the file's order."""
        path = Path(request.source)
        whole = _load(path)
        base = path.parent / Path(request.options.media_root or "images").expanduser()
        if request.options.media_root is None and not base.is_dir():
            base = path.parent
        try:
            names = {category["id"]: str(category["name"]) for category in whole["categories"]}
            objects: dict[Any, list[tuple[list[float], str]]] = defaultdict(list)
            for item in whole["annotations"]:
                x, y, width, height = (float(number) for number in item["bbox"])
                if width > 0 and height > 0 and not item.get("iscrowd"):
                    objects[item["image_id"]].append(([x, y, x + width, y + height], names[item["category_id"]]))
            images = [(image["id"], str(image["file_name"])) for image in whole["images"]]
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{str(path)!r} is not COCO: {type(error).__name__} {error}. It needs images (id, file_name), "
                "annotations (image_id, category_id, bbox) and categories (id, name)."
            ) from None
        for number, name in images:
            where = f"{path}, image {name!r}"
            found = objects[number]
            image = request.media_file(name, base, where)
            raw = {
                request.media or "image": image,
                "boxes": [box for box, _ in found],
                "labels": [la for _, la in found],
            }
            yield request.row(raw, where)


def _load(path: Path) -> dict[str, Any]:
    with open_text(path) as file:
        try:
            whole = json.load(file)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {error.lineno}: not valid JSON: {error.msg}.") from None
    if not isinstance(whole, dict):
        raise DataError(f"{str(path)!r} is not COCO: it must hold one JSON object, got a {type(whole).__name__}.")
    return whole


READER = Coco()
