"""Small VQA datasets, written into a test's folder, and what every source of questions promises."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from negscale.core.pipeline import Source
from negscale.core.schema import ENVELOPE, QUESTION


def answers(said: str = "no", count: int = 10, other: str = "yes") -> list[dict[str, Any]]:
    """`count` of ten annotators say `said`, the rest `other`, as VQA stores them."""
    words = [said] * count + [other] * (10 - count)
    return [{"answer": word, "answer_confidence": "yes", "answer_id": k} for k, word in enumerate(words, 1)]


def question(number: int, image: int, text: object = "Is there a dog?") -> dict[str, Any]:
    return {"question_id": number, "image_id": image, "question": text}


def answered(number: int, image: int, **more: Any) -> dict[str, Any]:
    return {
        "question_id": number, "image_id": image, "question_type": "is there a", "answer_type": "yes/no",
        "multiple_choice_answer": "no", "answers": answers(), **more,
    }  # fmt: skip


def caption(number: int, image: int, text: object) -> dict[str, Any]:
    return {"id": number, "image_id": image, "caption": text}


def write_vqa(
    root: Path,
    images: Sequence[Any],
    captions: Sequence[Any],
    questions: Sequence[Any],
    annotations: Sequence[Any],
    split: str = "val2014",
) -> None:
    """The three files under their published names."""
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    content = {"images": images, "annotations": captions}
    (root / f"annotations/captions_{split}.json").write_text(json.dumps(content))
    (root / f"v2_OpenEnded_mscoco_{split}_questions.json").write_text(json.dumps({"questions": questions}))
    (root / f"v2_mscoco_{split}_annotations.json").write_text(json.dumps({"annotations": annotations}))


def read_questions(source: Source) -> list[dict[str, Any]]:
    """Every row, read shard by shard as an executor does."""
    listing = source.list()
    rows: list[dict[str, Any]] = []
    at = 0
    for shard in listing.shards:
        part = None if listing.index is None else listing.index.slice(at, shard.rows)
        at += shard.rows
        table = source.read(shard, part)
        assert table.schema.equals(pa.schema([*ENVELOPE, *QUESTION]))
        assert len(table) == shard.rows
        rows += table.to_pylist()
    assert len({row["id"] for row in rows}) == len(rows)
    assert json.dumps(dict(listing.identity)) == json.dumps(dict(source.list().identity))
    return rows
