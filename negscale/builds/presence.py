"""Where a build learns what is in each picture: drawn scenes, COCO's annotations, or a run that verified its objects."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import pyarrow as pa
from pydantic import Field

from negscale.core.config import Config, Location
from negscale.core.errors import PlanError
from negscale.core.schema import PRESENCE
from negscale.datasets.coco import parse_coco
from negscale.datasets.indexed import read_config_file
from negscale.datasets.presence import coco_presence, toyworld_presence
from negscale.language.lexicon.classes import COCO_80
from negscale.language.nouns import mentions
from negscale.storage.folder import open_folder
from negscale.storage.run_folder import RunFolder

VERIFIED = ("image_id", "image", "positive_objects", "negative_objects")


class ToyworldPresenceConfig(Config):
    """Drawn scenes: the drawing is the truth."""

    kind: Literal["toyworld"] = "toyworld"
    images: int = Field(default=12_000, ge=1)
    seed: int = 0

    def table(self) -> pa.Table:
        """`PRESENCE` of the scenes."""
        return toyworld_presence(self.seed, self.images)


class CocoPresenceConfig(Config):
    """Images with annotated instances; what a caption mentions is not called absent though nobody drew its box."""

    kind: Literal["coco"] = "coco"
    annotations: Location
    """The instances JSON."""
    captions: Location = ""
    """The captions JSON of the same images; empty = what is not annotated is absent (the paper's rule)."""
    image_folder: str = ""
    """What stands before the file names in the questions."""

    def table(self) -> pa.Table:
        """`PRESENCE` of the annotated images. Raises ConfigError for files of another kind."""
        doubts = _mentioned(self.captions) if self.captions else {}
        return coco_presence(self.annotations, self.image_folder, only=doubts if self.captions else None, doubts=doubts)


class RunPresenceConfig(Config):
    """A finished run whose rows have verified lists of objects, e.g. one of NegBench's recipes.

    Objects that the run did not look for are in doubt, so that fewer pictures fit a question than with annotations.
    """

    kind: Literal["run"] = "run"
    uri: Location
    """The run folder that `negscale generate` printed."""

    def table(self) -> pa.Table:
        """`PRESENCE`, one row an image. Raises PlanError for runs that are unfinished or verified no objects."""
        run = RunFolder(self.uri)
        run.record()
        if run.manifest() is None:
            raise PlanError(f"source.uri: run {self.uri} is not finished; finish it with negscale generate first")
        paths: dict[str, str] = {}
        lists: dict[str, tuple[set[str], set[str]]] = {}
        for _, table in run.tables("data"):
            if missing := [name for name in VERIFIED if name not in table.column_names]:
                raise PlanError(
                    f"source.uri: rows of {self.uri} have no {', '.join(missing)}; take a run of a negbench recipe"
                )
            for row in table.select(list(VERIFIED)).to_pylist():
                image = row["image"] or {}
                path = image.get("uri") if image.get("offset") is None else None  # a tar's name is no picture's
                paths.setdefault(row["image_id"], path or row["image_id"])
                present, absent = lists.setdefault(row["image_id"], (set(), set()))
                present.update(row["positive_objects"] or ())
                absent.update(row["negative_objects"] or ())
        if not lists:
            raise PlanError(f"source.uri: run {self.uri} kept no row")
        rows = [
            # rows of one image may disagree, as a verifier's two looks may: then the object is in doubt
            {"image_id": name, "image_path": paths[name], "present": sorted(p - n), "absent": sorted(n - p)}
            for name, (p, n) in sorted(lists.items())
        ]
        return pa.Table.from_pylist(rows, schema=PRESENCE)


def _mentioned(path: str) -> dict[int, set[str]]:
    """COCO image id -> classes that its captions mention; a box may have been forgotten for those."""
    folder, _, file = path.rpartition("/")
    content = parse_coco(read_config_file(open_folder(folder or "."), file, "captions"), path)
    found: dict[int, set[str]] = {image["id"]: set() for image in content["images"]}
    for note in content["annotations"]:
        found.setdefault(note["image_id"], set()).update(n for n in COCO_80 if mentions(str(note["caption"]), n))
    return found


PresenceConfig: TypeAlias = Annotated[
    ToyworldPresenceConfig | CocoPresenceConfig | RunPresenceConfig, Field(discriminator="kind")
]
