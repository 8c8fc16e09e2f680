"""From the image a released file names to the file that a data root holds.

Released files carry their authors' paths ("data/coco/images/val2017/000000397133.jpg", "/mnt/nfs/..."), Windows
separators, or the other release of the same photographs: COCO's 2014 and 2017 splits share their 12-digit numbers. The
released evaluators join such paths to a folder and stop at the first that is missing, or score near zero when the folder
is another split (NegBench issue #2: the link leads to VOC's trainval instead of its test split). Here a folder that
cannot be the right one is refused, and what it seems to be is said.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from negscale.core.errors import ConfigError
from negscale.datasets.things import VIDEOS
from negscale.storage.folder import open_folder

MIN_FOUND = 0.5  # of a benchmark's images; below, the folder is another one
_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_COCO = re.compile(r"(?:^|_)(\d{12})$")
_DRAWN = re.compile(r"toyworld:-?\d+/\d+")


@dataclass(frozen=True)
class ImageIndex:
    """Images and clips below a root, by what they can be found by."""

    root: str
    by_name: Mapping[str, Sequence[str]]  # lower-case file name -> paths
    by_number: Mapping[str, Sequence[str]]  # COCO number -> paths

    @classmethod
    def of(cls, root: str) -> ImageIndex:
        """List the folder or URI once; "" stands for no folder, for drawn scenes. Raises ConfigError without any image."""
        if not root:
            return cls("", {}, {})
        names: dict[str, list[str]] = defaultdict(list)
        numbers: dict[str, list[str]] = defaultdict(list)
        for path in sorted(entry.path for entry in open_folder(root).walk()):
            name = path.rpartition("/")[2].lower()
            stem, _, extension = name.rpartition(".")
            if f".{extension}" in _PICTURES or f".{extension}" in VIDEOS:
                names[name].append(path)
                if number := _COCO.search(stem):
                    numbers[number[1]].append(path)
        if not names:
            raise ConfigError(f"image root {root!r} holds no image; expected {', '.join(_PICTURES[:4])} ... below it")
        return cls(root, dict(names), dict(numbers))

    def __len__(self) -> int:
        return sum(map(len, self.by_name.values()))

    def find(self, name: str, shared: int = 1, near: str = "") -> str:
        """The path below the root of what a file calls `name`; "" when there is none, or more than one that fits as well.

        Candidates have the file name, else the COCO number; the longest common end of path decides. shared: components
        that must agree, more than one where the benchmark's own names differ only in their folders. A COCO number names
        the same photograph in every split, so that of several copies the first will do. near: a folder below the root whose
        images come first where several fit as well: that of the benchmark's file, as exports keep their images beside it.
        """
        if _DRAWN.fullmatch(name):
            return name
        parts = _parts(name)
        if not parts:
            return ""
        stem = parts[-1].rpartition(".")[0] or parts[-1]
        number = _COCO.search(stem)
        copies = bool(number)
        candidates = self.by_name.get(parts[-1], ())
        if not candidates and number:
            candidates, shared = self.by_number.get(number[1], ()), 0
        ends = [(_common_end(parts, _parts(path)), path) for path in candidates]
        most = max((end for end, _ in ends), default=-1)
        best = [path for end, path in ends if end == most]
        if len(best) > 1 and near:
            best = [path for path in best if path.startswith(f"{near}/")] or best
        return best[0] if best and most >= shared and (len(best) == 1 or copies) else ""


@dataclass(frozen=True, slots=True)
class Located:
    """Items whose images are paths below the root, and how many distinct images were asked for and found.

    An image that was not found keeps its file name and is missing when it is read.
    """

    items: pa.Table
    wanted: int
    found: int

    @property
    def missing(self) -> int:
        """Distinct images that the root does not hold."""
        return self.wanted - self.found


def locate(items: pa.Table, index: ImageIndex, needs: str, *, allow_missing: bool = False, file: str = "") -> Located:
    """The items with their images found below a root.

    needs: which images these are, for messages ("COCO val2017"); file: the benchmark's, beside which its images are looked
    for first. Raises ConfigError when fewer than half are there, saying what the root seems to hold instead; allow_missing:
    only when none is.
    """
    lists = items["images"].to_pylist()
    names = sorted({name for images in lists for name in images})
    depth = _depths(names)
    root = f"{index.root.rstrip('/')}/"
    near = file.removeprefix(root).rpartition("/")[0] if file.startswith(root) else ""
    paths = {name: index.find(name, depth[name], near) for name in names}
    found = sum(map(bool, paths.values()))
    if found == 0 or (found < MIN_FOUND * len(names) and not allow_missing):
        raise ConfigError(_refusal(paths, found, index, needs))
    mapped = [[paths[name] or (_parts(name) or [""])[-1] for name in images] for images in lists]
    at = items.schema.get_field_index("images")
    return Located(
        items.set_column(at, items.schema.field(at), pa.array(mapped, pa.list_(pa.string()))), len(names), found
    )


def _depths(names: Sequence[str]) -> dict[str, int]:
    """How many components from the end tell each name from every other one."""
    by_name: dict[str, list[list[str]]] = defaultdict(list)
    for name in names:
        by_name[(_parts(name) or [""])[-1]].append(_parts(name))
    found = {}
    for name in names:
        same, depth = by_name[(_parts(name) or [""])[-1]], 1
        while depth < len(_parts(name)) and sum(parts[-depth:] == _parts(name)[-depth:] for parts in same) > 1:
            depth += 1
        found[name] = depth
    return found


def _refusal(paths: Mapping[str, str], found: int, index: ImageIndex, needs: str) -> str:
    lost = [name for name, path in paths.items() if not path]
    used = {path.rpartition("/")[2].lower() for path in paths.values()}
    shapes = {_shape(_parts(name)[-1]) for name in lost if _parts(name)}
    alike = [name for name in index.by_name if _shape(name) in shapes and name not in used]
    head = f"image root {index.root!r} holds {found} of the {len(paths)} images of {needs}"
    if len(alike) > found:
        some = ", ".join(_examples(alike))
        return (
            f"{head}, and {len(alike)} others that are named alike ({some}): this looks like another split. Missing are "
            f"{', '.join(_examples(lost))}; point the image root at {needs}"
        )
    other = ", ".join(_examples(index.by_name))
    return f"{head}; it holds {len(index)} images such as {other}. Point the image root at {needs}"


def _examples(names: Iterable[str]) -> list[str]:
    return [name for name, _ in zip(names, range(3), strict=False)]


def _shape(name: str) -> str:
    """A file name with its digits taken out: "000000397133.jpg" and "000000000785.jpg" look alike."""
    return re.sub(r"\d", "0", name.lower())


def _parts(name: str) -> list[str]:
    """Components of a path in lower case, whatever the separators; drive letters and dots left out."""
    parts = [part for part in name.strip().replace("\\", "/").lower().split("/") if part not in ("", ".", "..")]
    return parts[1:] if parts and re.fullmatch(r"[a-z]:", parts[0]) else parts


def _common_end(a: Sequence[str], b: Sequence[str]) -> int:
    length = 0
    while length < min(len(a), len(b)) and a[-1 - length] == b[-1 - length]:
        length += 1
    return length
