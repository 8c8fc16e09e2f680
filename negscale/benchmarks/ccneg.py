"""CC-Neg: the caption against the same with one predicate negated (CoN-CLIP, Singh et al., arXiv 2403.20312).

``{"image_paths": [...], "annotations": [{"json": {"caption": ...}, "sop_data": {"negative-prompt": ...}}]}``, released as a
torch file; the last 40,000 of 228,246 are for evaluation. What differs: the file is loaded as plain data (the release
unpickles it), ties are shared, and two leaks are said: commas were deleted from the negated captions only, and the true
caption is, by construction, the one without a negation.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from negscale.backends.torch_files import load_plain
from negscale.benchmarks.released import ReleasedBenchmark, read_text
from negscale.core.errors import ConfigError

EVALUATION_ITEMS = 40_000


def read(path: str, text: str) -> Iterable[Mapping[str, Any]]:
    """The last 40,000 items of a torch file, or of a JSON file of the same content. Raises ConfigError for other shapes."""
    if path.lower().endswith(".json"):
        try:
            content = json.loads(read_text(path))
        except json.JSONDecodeError as error:
            raise ConfigError(f"{path}: not JSON: {error}") from None
    else:
        content = load_plain(path)
    if not isinstance(content, dict) or not {"image_paths", "annotations"} <= set(content):
        raise ConfigError(f"{path}: expected image_paths and annotations, got {str(content)[:80]!r}")
    images, notes = content["image_paths"], content["annotations"]
    if len(images) != len(notes):
        raise ConfigError(f"{path}: {len(images)} image_paths and {len(notes)} annotations; expected as many")
    for number in range(max(0, len(images) - EVALUATION_ITEMS), len(images)):
        try:
            true, false = notes[number]["json"]["caption"], notes[number]["sop_data"]["negative-prompt"]
        except (KeyError, TypeError) as error:
            raise ConfigError(f"{path}, item {number}: no {error}: {str(notes[number])[:120]}") from None
        yield {"images": [str(images[number])], "texts": [str(true), str(false)], "answer": 0}


PAPER = "CoN-CLIP: Singh et al., arXiv 2403.20312, WACV 2025"
CC_NEG = ReleasedBenchmark(
    "cc-neg", "40,000 captions of CC3M against themselves with one predicate negated", "choose_text",
    ("ccneg_preprocessed.pt", "ccneg*.json"), "CC-Neg's images (CC3M)",
    "repository jaisidhsingh/CoN-CLIP links the data", read,
    ("the false caption is the one with a negation: solvable without images", "commas are deleted from false captions only"),
    binary=True,
    paper=PAPER,
)  # fmt: skip
