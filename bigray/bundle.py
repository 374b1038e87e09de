"""Gather a recipe and the files it names into one folder that can be sent to a cluster.

Files that the recipe names by a relative path travel along, at the same places relative to each other, so the recipe
needs no rewriting beyond its overrides. An absolute path, a URL, ``hub:`` and ``catalogue:`` stay as they are: every node
of the cluster must reach them, over the network or on storage mounted at the same place. ``output`` must be such a
place too, as the folder sent is a throw-away copy on one node.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from bigray.errors import RecipeError
from bigray.recipe import Recipe, dump, locate, parse, read

MAX_BYTES = 90 * 2**20
"""Most that travels with a job: Ray's head takes uploads up to 100 MiB. More belongs on shared storage: every node that runs a part unpacks its own copy."""


def gather(
    recipe: str | Path, folder: Path, overrides: Sequence[str] = (), *, max_bytes: int = MAX_BYTES
) -> tuple[Recipe, str]:
    """Fill an existing, empty folder; return the recipe and the place of its file within the folder.

    Raises:
        RecipeError: The recipe is not valid, its output is a relative path, or a file it names is missing, too large
            to send, or, for a model, outside the working directory.
    """
    read(recipe, overrides)  # says at best what is wrong, with paths as the user knows them
    source = locate(recipe)
    wanted = parse(source.read_text(encoding="utf-8"), overrides)
    _check_output(wanted)
    base = source.resolve().parent
    data = {path for value in _data_paths(wanted) for path in _found(value, base)}
    model = {value: Path(value).resolve() for value in _model_paths(wanted)}
    _check_size([*data, *model.values()], max_bytes)
    root = Path(os.path.commonpath([base, *(path.parent for path in data)]))
    for path in sorted(data):
        _copy(path, folder / path.relative_to(root))
    for value, path in model.items():
        _copy(path, folder / value)
    place = base.relative_to(root) / "recipe.yaml"
    (folder / place).parent.mkdir(parents=True, exist_ok=True)
    (folder / place).write_text(dump(wanted), encoding="utf-8")
    return wanted, str(place)


def _check_output(recipe: Recipe) -> None:
    if not recipe.output.startswith("/") and "://" not in recipe.output:
        raise RecipeError(
            f"output is {recipe.output!r}, a relative path: on a cluster it would lie in a copy that is thrown away. Give "
            "an absolute folder that every node sees, for example --set output=/shared/runs.",
            pointer="output",
        )


def _data_paths(recipe: Recipe) -> Iterator[str]:
    data = recipe.data
    for value in (data.train, data.validation, data.test):
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and _travels(item):
                yield item


def _model_paths(recipe: Recipe) -> Iterator[str]:
    # a model name may be a hub's, so only what exists here is taken for a path; it is relative to the working directory
    places = {"model.name": recipe.model.name, "model.weights": recipe.model.weights}
    places |= {f"model.input.{key}": value for key, value in recipe.model.input.items()}
    for field, value in places.items():
        if not isinstance(value, str) or not _travels(value) or not Path(value).exists():
            continue
        if ".." in Path(value).parts:
            raise RecipeError(
                f"{field} is {value!r}, outside the working directory, so it cannot be sent. Change to a folder that "
                "holds it, or give an absolute path that every node sees.",
                pointer=field,
            )
        yield value


def _travels(value: str) -> bool:
    return "://" not in value and not value.startswith(("hub:", "catalogue:", "package:", "/", "~"))


def _found(value: str, base: Path) -> list[Path]:
    # normpath, not resolve: a linked file must arrive under the name that the recipe uses
    if Path(os.path.normpath(base / value)).exists():
        return [Path(os.path.normpath(base / value))]
    if found := glob.glob(str(base / value), recursive=True):
        return [Path(os.path.normpath(path)) for path in found]
    raise RecipeError(
        f"The recipe names {value!r}, which is not at {str(base / value)!r}. Relative paths are sent from this machine; "
        "for data that only the cluster has, give an absolute path.",
        pointer="data",
    )


def _check_size(paths: Sequence[Path], max_bytes: int) -> None:
    sizes = {path: sum(file.stat().st_size for file in _files(path)) for path in paths}
    if sum(sizes.values()) > max_bytes:
        largest = max(sizes, key=lambda path: sizes[path])
        raise RecipeError(
            f"The files of this recipe are {sum(sizes.values()) / 2**20:.0f} MiB (largest: {str(largest)!r}); at most "
            f"{max_bytes / 2**20:.0f} MiB travel with a job. Put them on storage that every node mounts, and give "
            "absolute paths.",
            pointer="data",
        )


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    else:
        yield from (file for file in path.rglob("*") if file.is_file())


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        shutil.copy2(source, target)
