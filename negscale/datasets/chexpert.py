"""CheXpert: one row per radiograph with its findings: present, absent, uncertain; all others were not mentioned.

The labels (Irvin et al., arXiv 1901.07031) are a CSV with a column per finding: 1 present, 0 absent, -1 uncertain, blank
not mentioned. The four are kept apart: NegBench (arXiv 2501.09425) does not say what its "does not show" rests on.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import ENVELOPE, FINDINGS
from negscale.datasets.captions import fault, image_ref, storable
from negscale.datasets.images import ImageReader
from negscale.datasets.indexed import indexed_listing, read_config_file, slice_of_index
from negscale.storage.folder import open_folder

FINDING_NAMES = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema", "Consolidation", "Pneumonia",
    "Atelectasis", "Pneumothorax", "Pleural Effusion", "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
BROADER = {  # the labels' own hierarchy: whoever has the left has the right
    "Cardiomegaly": "Enlarged Cardiomediastinum", "Edema": "Lung Opacity", "Consolidation": "Lung Opacity",
    "Pneumonia": "Consolidation", "Lung Lesion": "Lung Opacity", "Atelectasis": "Lung Opacity",
}  # fmt: skip
TABLE = pa.schema([*ENVELOPE, *FINDINGS])
_STATES = {"1": "present", "0": "absent", "-1": "uncertain"}


class ChexpertConfig(Config):
    """CheXpert's layout."""

    kind: Literal["chexpert"] = "chexpert"
    root: Location
    """Folder or URI in which the paths of the CSV begin (the parent of CheXpert-v1.0-small)."""
    labels: Location = "CheXpert-v1.0-small/valid.csv"
    """The CSV with the column Path and one per finding; relative to root, or absolute."""
    views: Literal["all", "frontal", "lateral"] = "frontal"
    """Which radiographs. A study's labels are those of its report, whatever the view shows."""
    shard_rows: int = Field(default=512, ge=1)
    """Rows in a unit of work."""

    def build(self) -> ChexpertSource:
        """The source."""
        return ChexpertSource(self)

    def reader(self) -> ImageReader:
        """Reads the radiographs."""
        return ImageReader(self.root)


class ChexpertSource:
    """Rows "valid/patient64541/study1/view1_frontal", in the order of the file."""

    schema = FINDINGS

    def __init__(self, config: ChexpertConfig) -> None:
        self.config = config

    def list(self) -> Listing:
        """Parses the CSV once; its rows are the index."""
        rows, identity = read_labels(self.config)
        return indexed_listing("chexpert", rows, self.config.shard_rows, identity)

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The shard's slice of the index."""
        return slice_of_index(shard, index)


def read_labels(config: ChexpertConfig) -> tuple[pa.Table, dict[str, Any]]:
    """(rows, what identifies them) of the CSV that a config names. Raises ConfigError when it cannot be had."""
    data = read_config_file(open_folder(config.root), config.labels, "source.labels")
    rows, left_out = finding_rows(data, config.labels, config.views)
    return rows, {"labels_sha256": sha256(data).hexdigest(), "other_views": left_out}


def finding_rows(data: bytes, name: str, views: str = "all") -> tuple[pa.Table, int]:
    """(rows, number of rows of other views). A row with a label that is none of 1, 0, -1 and blank is quarantined."""
    reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig", "replace"), newline=""))
    columns = list(reader.fieldnames or ())
    findings = [finding for finding in FINDING_NAMES if finding in columns]
    if "Path" not in columns or not findings:
        raise ConfigError(
            f"source.labels: {name} has the columns {columns}; expected Path and {', '.join(FINDING_NAMES)}"
        )
    rows: dict[str, dict[str, Any]] = {}
    left_out = 0
    for number, line in enumerate(reader):
        view = _view(line)
        if views != "all" and view != views:
            left_out += 1
            continue
        path = storable((line["Path"] or "").strip())
        row_id = unique = _short(path) if path else f"row-{number}"
        states: dict[str, list[str]] = {"present": [], "absent": [], "uncertain": []}
        problem = None if path else fault("schema", f"row {number} has no Path")
        for finding in findings:
            cell = (line[finding] or "").strip()
            state = _STATES.get(cell.removesuffix(".0"))
            if state is not None:
                states[state].append(finding)
            elif cell:
                problem = fault("bad_label", f"{finding} is {cell!r}; expected 1, 0, -1 or blank")
        while unique in rows:
            unique = f"{unique}~{number}"
            problem = fault("duplicate_id", f"{path!r} occurred before; this copy is kept as {unique!r}")
        patient = re.search(r"patient\d+", path)
        rows[unique] = {
            "id": unique, "rejection": None, "quarantine": problem, "image": image_ref(path), "image_id": row_id,
            "patient_id": patient[0] if patient else None, "view": view, **states,
        }  # fmt: skip
    if not rows:
        raise ConfigError(f"source.views={views!r}: {name} has no such row ({left_out} of other views)")
    return pa.Table.from_pylist(list(rows.values()), schema=TABLE), left_out


def _view(line: Mapping[str, str | None]) -> str | None:
    """frontal, lateral or None: the column of the training and validation sets, else the file's name (the test set)."""
    text = (line.get("Frontal/Lateral") or line["Path"] or "").lower()
    return next((view for view in ("frontal", "lateral") if view in text), None)


def _short(path: str) -> str:
    return re.sub(r"^CheXpert-v[^/]*/", "", path).rpartition(".")[0] or path


def broader(finding: str) -> tuple[str, ...]:
    """The findings that `finding` implies, nearest first.

    >>> broader("Pneumonia")
    ('Consolidation', 'Lung Opacity')
    """
    found: list[str] = []
    while (finding := BROADER.get(finding, "")) != "":
        found.append(finding)
    return tuple(found)
