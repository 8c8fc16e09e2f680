"""SugarCrepe: a caption against a fluent false one (Hsieh et al., arXiv 2306.14610), by what was changed.

One JSON file a kind of change (add, replace, swap of objects, attributes, relations), items ``{filename, caption,
negative_caption}``. No negation, but the test that composition was not lost by training on negation. Right is the first in
every item, and the released scorer counts an equal score as wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from negscale.benchmarks.released import ReleasedBenchmark, choice_rows
from negscale.questions.files import parse_pairs_json


def read(path: str, text: str) -> Iterable[Mapping[str, Any]]:
    """All items; their type is the file's name ("replace_obj")."""
    questions = parse_pairs_json(text, path)
    kind = path.rpartition("/")[2].removesuffix(".json").removeprefix("sugarcrepe_")
    return choice_rows(questions, [kind] * len(questions))


PAPER = "SugarCrepe: Hsieh et al., arXiv 2306.14610, NeurIPS 2023"
SUGARCREPE = ReleasedBenchmark(
    "sugarcrepe", "7,512 pairs of a caption and a changed one on COCO val2017", "choose_text",
    ("sugarcrepe_*.json", "sugarcrepe/*.json", "sugar-crepe/*.json"), "COCO val2017",
    "JSON: repository RAIVNLab/sugar-crepe, folder data; images: cocodataset.org, val2017", read, released_tie="lose", several=True,
    paper=PAPER,
)  # fmt: skip
