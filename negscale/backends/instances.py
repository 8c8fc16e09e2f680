"""A COCO instances file as a config: what annotators drew in each image, and the hash that bears identity."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, ClassVar

from negscale.backends.corpora import coco_instances, read_bytes
from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError


class InstancesConfig(Config):
    """Base of the backends that look objects up; `role` stands before the key in messages."""

    role: ClassVar[str]
    annotations: Location = ""
    """instances_*.json in COCO's format; crowds count as present."""

    def content(self) -> dict[str, Any]:
        """The hash of the file."""
        return {"annotations_sha256": hashlib.sha256(self._bytes()).hexdigest()}

    @property
    def backend_id(self) -> str:
        """Format and start of the file's sha256: "annotations/coco_instances@9c1d..."."""
        return f"annotations/coco_instances@{self.content()['annotations_sha256'][:12]}"

    def objects(self) -> tuple[tuple[str, ...], Mapping[str, frozenset[str]]]:
        """(category names, image key -> categories annotated). Raises ConfigError when it is no COCO instances file."""
        try:
            document = json.loads(self._bytes())
            names = tuple(category["name"] for category in document["categories"])
            return names, {key: frozenset(objects or ()) for key, _, objects in coco_instances(document)}
        except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise ConfigError(
                f"{self.role}.annotations: {self.annotations!r} is no COCO instances file "
                f"({type(error).__name__}: {error}); give instances_<split>.json"
            ) from error

    def _bytes(self) -> bytes:
        return read_bytes(self.annotations, f"{self.role}.annotations")
