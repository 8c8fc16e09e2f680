"""The exam of referring expressions: which of two objects of a kind is meant by what it lacks.

Scenes, candidates and their patches come from the real recipe (`negrefcocog`); its expressions are said again in the
words of the exams, since their cues are used in fine-tuning.
"""

from __future__ import annotations

import pyarrow as pa

from negscale import app
from negscale.core.runtime import RuntimeConfig
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toyworld_referring import ToyworldReferringConfig
from negscale.pipelines.negrefcocog import NEGREFCOCOG, NegRefConfig
from negscale.science.exams import Exam, items_of
from negscale.science.sentences import REFERRING, say
from negscale.science.split import Split, names_in
from negscale.storage.run_folder import RunFolder

_COLUMNS = ("image", "instances", "boxes_xywh_px", "candidate_ids", "target", "denied")


def referring_exam(split: Split, root: str, seed: int, world: int, scenes: int) -> Exam:
    """Expressions "KIND without THING" whose two names stand together in tests only."""
    runtime = RuntimeConfig(executor="local", run_root=root, version=f"exam-{seed}")
    source = ToyworldReferringConfig(images=scenes, seed=world, wrong_share=0)
    prepared = app.prepare_config(NEGREFCOCOG, NegRefConfig(seed=seed, source=source, runtime=runtime))
    app.generate(prepared)
    found = []
    for _, table in RunFolder(prepared.spec.uri).tables("data"):
        found += [item for row in _rows(table) if (item := _item(split, row, seed)) is not None]
    return Exam("negref", "choose_region", items_of(found))


def _rows(table: pa.Table) -> list[dict]:
    return table.select(list(_COLUMNS)).to_pylist()


def _item(split: Split, row: dict, seed: int) -> dict | None:
    categories = {one["id"]: one["category"] for one in row["instances"]}
    kind = categories[row["candidate_ids"][row["target"]]]
    denied = sorted(names_in(row["denied"] or ""))
    if len(denied) != 1 or denied[0] not in OBJECTS or not split.is_test_pair(kind, denied[0]):
        return None  # a side that is denied ("not on the left"), or a pair of the training
    return {
        "images": [row["image"]["uri"]], "boxes_xywh_px": row["boxes_xywh_px"], "answer": row["target"],
        "texts": [say(REFERRING, [kind, denied[0]], seed=seed)],
    }  # fmt: skip
