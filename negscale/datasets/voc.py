"""PASCAL VOC: images with the objects that are annotated in them (Everingham et al. 2010; VOC2007 in NegBench's MCQ).

ImageSets/Main/SPLIT.txt names the images, Annotations/NAME.xml lists the objects, JPEGImages/NAME.jpg is the picture.
A row is an image with the names of its objects, each once. VOC has no captions.
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import ENVELOPE, IMAGE_OBJECTS
from negscale.datasets.captions import fault, image_ref
from negscale.datasets.images import ImageReader
from negscale.datasets.indexed import indexed_listing, read_config_file
from negscale.datasets.voc_xml import VocXmlError, parse_annotation
from negscale.storage.folder import Folder, open_folder

_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_STUBS = pa.schema([ENVELOPE.field("id"), *IMAGE_OBJECTS])


class VocConfig(Config):
    """A folder such as VOCdevkit/VOC2007."""

    kind: Literal["voc"] = "voc"
    root: Location
    """Folder or URI that holds Annotations, ImageSets and JPEGImages."""
    split: str = Field(default="trainval", pattern=r"^[A-Za-z0-9_-]+$")
    """File of ImageSets/Main: train, val, trainval, test."""
    difficult: bool = True
    """Count objects marked as difficult: they are in the picture, whatever a classifier is scored on."""
    shard_rows: int = Field(default=512, ge=1)
    """Images in a unit of work."""

    def build(self) -> VocSource:
        """The source."""
        return VocSource(self)

    def reader(self) -> ImageReader:
        """Reads the images that the rows refer to."""
        return ImageReader(self.root)


class VocSource:
    """Rows "000005": the image's name."""

    schema = IMAGE_OBJECTS

    def __init__(self, config: VocConfig) -> None:
        self.config = config

    def list(self) -> Listing:
        """Reads the split file. The annotations are read by the workers."""
        folder = open_folder(self.config.root)
        path = f"ImageSets/Main/{self.config.split}.txt"
        there = sorted(entry.path.rpartition("/")[2] for entry in folder.list("ImageSets/Main"))
        splits = [name.removesuffix(".txt") for name in there if "_" not in name]
        data = read_config_file(folder, path, "source.split", f"; splits there: {', '.join(splits) or 'none'}")
        lines = [line.split() for line in data.decode("utf-8", "replace").splitlines() if line.strip()]
        # CLASS_SPLIT.txt has a second column (-1, 0, 1): names of all images, with and without the class
        bad = next((n for n, line in enumerate(lines, 1) if len(line) > 2 or not _NAME.fullmatch(line[0])), None)
        if bad is not None or not lines:
            raise ConfigError(f"{path}: " + (f"line {bad} is no image name" if bad else "the file has no line"))
        names = [line[0] for line in lines]
        if len(set(names)) != len(names):
            raise ConfigError(f"{path}: {len(names) - len(set(names))} names occur twice")
        sizes = {
            kind: {entry.path.rpartition("/")[2]: entry.size_bytes for entry in folder.list(kind)}
            for kind in ("Annotations", "JPEGImages")
        }
        facts = [
            [name, sizes["Annotations"].get(f"{name}.xml"), sizes["JPEGImages"].get(f"{name}.jpg")] for name in names
        ]
        stubs = [{"id": name, "image": image_ref(f"JPEGImages/{name}.jpg"), "image_id": name} for name in names]
        identity = {"images": len(names), "names_sizes_sha256": sha256(json.dumps(facts).encode()).hexdigest()}
        return indexed_listing("voc", pa.Table.from_pylist(stubs, schema=_STUBS), self.config.shard_rows, identity)

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The shard's images with their objects; an annotation that is missing or refused breaks its row."""
        if index is None or len(index) != shard.rows:
            raise ValueError(f"shard {shard.name!r} needs its slice of the listing's index ({shard.rows} rows)")
        folder = open_folder(self.config.root)
        rows = [self._row(folder, stub) for stub in index.to_pylist()]
        return pa.Table.from_pylist(rows, schema=pa.schema([*ENVELOPE, *IMAGE_OBJECTS]))

    def _row(self, folder: Folder, stub: dict[str, Any]) -> dict[str, Any]:
        path = f"Annotations/{stub['image_id']}.xml"
        row = {**stub, "rejection": None, "quarantine": None, "objects": None}
        try:
            found = parse_annotation(folder.read(path))
        except FileNotFoundError:
            return {**row, "quarantine": fault("missing_annotation", f"there is no {path}")}
        except VocXmlError as error:
            return {**row, "quarantine": fault(error.kind, f"{path}: {error}")}
        except OSError as error:
            return {**row, "quarantine": fault("storage_error", f"{path}: {error}", retryable=True)}
        objects = [o.name for o in found.objects if self.config.difficult or not o.difficult]
        image = {**row["image"], "height_px": found.height_px, "width_px": found.width_px}
        return {**row, "image": image, "objects": list(dict.fromkeys(objects))}
