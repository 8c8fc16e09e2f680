"""Retrieval and Retrieval-Neg: images by captions with a denial (NegBench, Alhamoud et al., arXiv 2501.09425, section 3).

One CSV row an image, its captions a Python list literal in a cell. The released reader calls ``eval`` on that cell, which
runs whatever a file says; here it is parsed as a literal. MSR-VTT's file has one caption a clip, as plain text. An
image that occurs in several rows is one item with all their captions: as two items it would be its own distractor.
"""

from __future__ import annotations

import ast
import csv
import io
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from negscale.benchmarks.released import ReleasedBenchmark
from negscale.core.errors import ConfigError

_CSV = "CSV files: repository m1k2zoo/negbench, or sepehrkr/SpaceVLM, folder data"
_LONG = "some rewritten captions run beyond the 77 tokens that CLIP reads"


def read(path: str, text: str, said: str = "captions") -> Iterable[Mapping[str, Any]]:
    """One item an image, with its captions. Raises ConfigError naming the line for a cell that is no list of texts.

    said: the column of the captions.
    """
    rows = csv.DictReader(io.StringIO(text, newline=""))
    for column in ("filepath", said):
        if column not in (rows.fieldnames or ()):
            held = ", ".join(rows.fieldnames or ()) or "nothing"
            raise ConfigError(f"{path}: no column {column!r}; it holds {held}")
    found: dict[str, list[str]] = {}
    for row in rows:
        where = f"{path}, line {rows.line_num}"
        if None in row or None in row.values():
            raise ConfigError(
                f"{where}: expected {len(rows.fieldnames or ())} cells: is a comma in a caption unquoted?"
            )
        if not row["filepath"].strip():
            raise ConfigError(f"{where}: filepath is empty")
        found.setdefault(row["filepath"], []).extend(captions_of(row[said], where))
    return [{"images": [image], "texts": texts} for image, texts in found.items()]


def captions_of(cell: str, where: str) -> list[str]:
    """The captions of a cell: a Python list literal, or one plain caption."""
    if not cell.strip().startswith("["):
        return [cell]
    try:
        texts = ast.literal_eval(cell.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise ConfigError(f"{where}: captions is no Python list of texts ({error}): {cell[:80]!r}") from None
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise ConfigError(f"{where}: captions is no list of one or more texts: {cell[:80]!r}")
    return texts


PAPER = "NegBench: Alhamoud et al., arXiv 2501.09425, CVPR 2025"
RETRIEVAL_COCO = ReleasedBenchmark(
    "negbench/retrieval-coco", "5,000 COCO val2017 images, 25,014 captions", "retrieve",
    ("*COCO_val_retrieval.csv", "*coco_retrieval.csv"), "COCO val2017", f"{_CSV}; images: cocodataset.org, val2017", read,
    paper=PAPER,
)  # fmt: skip
RETRIEVAL_NEG_COCO = ReleasedBenchmark(
    "negbench/retrieval-neg-coco", "5,000 COCO val2017 images, 25,014 captions with a denial", "retrieve",
    ("*COCO_val_negated_retrieval*rephrased*.csv", "*coco_negated_retrieval.csv"), "COCO val2017",
    f"{_CSV}; images: cocodataset.org, val2017", read, (_LONG,),
    paper=PAPER,
)  # fmt: skip
RETRIEVAL_NEG_COCO_TEMPLATED = ReleasedBenchmark(
    "negbench/retrieval-neg-coco-templated", "the same with templates instead of rewriting", "retrieve",
    ("*COCO_val_negated_retrieval*template*.csv", "*coco_negated_retrieval_template.csv"), "COCO val2017",
    f"{_CSV}; images: cocodataset.org, val2017", read,
    paper=PAPER,
)  # fmt: skip
RETRIEVAL_MSRVTT = ReleasedBenchmark(
    "negbench/retrieval-msrvtt", "1,000 MSR-VTT clips, one caption each", "retrieve",
    ("*msr_vtt_retrieval*.csv", "*msrvtt_retrieval*.csv"), "MSR-VTT test clips (1k-A)", f"{_CSV}; clips: MSR-VTT's own site",
    read,
    paper=PAPER,
)  # fmt: skip
RETRIEVAL_NEG_MSRVTT = ReleasedBenchmark(
    "negbench/retrieval-neg-msrvtt", "1,000 MSR-VTT clips, one caption with a denial each", "retrieve",
    ("*msr_vtt_negated_retrieval*.csv", "*msrvtt_negated_retrieval*.csv"), "MSR-VTT test clips (1k-A)",
    f"{_CSV}; clips: MSR-VTT's own site", read,
    paper=PAPER,
)  # fmt: skip
_MAKE = "make it: `negscale generate negbench_retrieval_neg`, `negscale export RUN --to negbench-csv`"
RETRIEVAL_OWN = ReleasedBenchmark(
    "negscale/retrieval", "the captions of Retrieval-Neg on images of one's own, as they were", "retrieve",
    ("*retrieval_neg*/captions.csv",), "the images it was made of", _MAKE, partial(read, said="caption"),
)  # fmt: skip
RETRIEVAL_NEG_OWN = ReleasedBenchmark(
    "negscale/retrieval-neg", "Retrieval-Neg on images of one's own", "retrieve", ("*retrieval_neg*/captions.csv",),
    "the images it was made of", _MAKE, partial(read, said="negative_captions"),
)  # fmt: skip
