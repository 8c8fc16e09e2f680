"""VALSE: the true caption against its foil (Parcalabescu et al., arXiv 2112.07566), existence and the other pieces.

Existence asks "there are no animals" against "there are animals". VALSE scores the items that two of three annotators
confirmed (505 of existence's 534); NegationCLIP's table (arXiv 2501.10913) counts all 534, as its figures show. Both are
here. Score: the share of pairs in which the caption scores more (VALSE's ``acc_r``). What differs: an equal score is half
a success; the release counts it as none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from negscale.benchmarks.released import ReleasedBenchmark, choice_rows
from negscale.questions.files import parse_pairs_json

_GET = (
    "JSON: repository Heidelberg-NLP/VALSE, folder data; images: Visual7W, COCO, SWiG and VisDial, as its README says"
)


def read(path: str, text: str) -> Iterable[Mapping[str, Any]]:
    """All items."""
    return choice_rows(parse_pairs_json(text, path))


def read_validated(path: str, text: str) -> Iterable[Mapping[str, Any]]:
    """Items that two of three annotators confirmed."""
    return choice_rows(parse_pairs_json(text, path, validated=True))


PAPER = "VALSE: Parcalabescu et al., arXiv 2112.07566, ACL 2022"
EXISTENCE = ReleasedBenchmark(
    "valse/existence", "534 pairs on whether something is there, all of them", "choose_text",
    ("valse*existence.json", "existence.json"), "Visual7W", _GET, read,
    ("29 of 534 items failed VALSE's own validation",), released_tie="lose",
    paper=PAPER,
)  # fmt: skip
EXISTENCE_VALIDATED = ReleasedBenchmark(
    "valse/existence-validated", "the 505 of them that annotators confirmed", "choose_text",
    ("valse*existence.json", "existence.json"), "Visual7W", _GET, read_validated, released_tie="lose",
    paper=PAPER,
)  # fmt: skip
PIECES = ReleasedBenchmark(
    "valse/pieces", "VALSE's other pieces, by phenomenon, confirmed items", "choose_text",
    ("valse_[!e]*.json", "valse/[!e]*.json"), "COCO, SWiG, VisDial, Visual7W", _GET, read_validated,
    released_tie="lose", several=True,
    paper=PAPER,
)  # fmt: skip
