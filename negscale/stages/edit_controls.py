"""The control that NeIn's released rows lack: the sentence that affirms what theirs denies.

The release (Bui et al., arXiv 2409.06481) has denials alone, which an editor that erases the noun of any sentence obeys. Each
of its sentences is one of thirteen templates; the control is the same template's affirmation, as `nein_select` writes it.
A sentence of no template has none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from negscale.core.stage import Outcome, Resources, Row, Stage
from negscale.language.instructions import fill, released
from negscale.prompts.nein import TEMPLATES, texts

CONTROLS = pa.schema([("affirmative_instruction", pa.string())])


class AffirmDenials(Stage):
    """Write the affirmation that matches each row's denial; null where the denial is of no known template."""

    name = "affirm_denials"
    version = 1
    reads = pa.schema([("negative_instruction", pa.string()), ("absent_object", pa.string())])
    writes = CONTROLS

    def __init__(self, resources: Resources) -> None:
        self.resources = resources

    def identity(self) -> Mapping[str, Any]:
        return texts()

    def process(self, rows: Sequence[Row]) -> Sequence[Outcome]:
        return [
            {"affirmative_instruction": affirmation(row["negative_instruction"], row["absent_object"])} for row in rows
        ]


def affirmation(denial: str, noun: str) -> str | None:
    """The control of a denial as released or as `nein_select` writes it; None for another sentence.

    >>> (
    ...     affirmation("No hourglass in the image.", "hourglass"),
    ...     affirmation("Wine glass is missing from the image.", "wine glass"),
    ... )
    ('There is an hourglass in the image.', 'A wine glass is included in the image.')
    >>> affirmation("Erase the dog.", "dog") is None
    True
    """
    for template in TEMPLATES:
        if denial.strip() in (released(template.released, noun), fill(template.negative, noun)):
            return fill(template.affirmative, noun)
    return None
