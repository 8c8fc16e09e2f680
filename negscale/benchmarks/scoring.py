"""Items and vectors to one row of scores an item: pure, and taken again in seconds.

Each row says what the model scored, the credit with ties shared, and what the released code makes of the same scores. A
row that lacks a vector has nulls and counts as missing; the released evaluators drop or crash on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
import pyarrow as pa

from negscale.benchmarks.classifying import class_table
from negscale.benchmarks.encoding import Vectors, pictures_of
from negscale.benchmarks.released import ReleasedBenchmark
from negscale.metrics.grounding import grounding_credit, released_grounding
from negscale.metrics.multiple_choice import (
    GroupScores,
    group_scores,
    released_credits,
    released_group_scores,
    shared_credits,
    strict_credits,
)
from negscale.metrics.ranking import Ranks, rank

# (queries float32[n, d], items float32[m, d], right items of each query) -> ranks, as `negscale.metrics.ranking.rank`
Ranker: TypeAlias = Callable[[np.ndarray, np.ndarray, Sequence[Sequence[int]]], Ranks]
_COMMON = [("id", pa.string()), ("image_id", pa.string()), ("type", pa.string()), ("group", pa.string())]
CHOICE_SCORE = pa.schema([
    *_COMMON, ("scores", pa.list_(pa.float64())), ("answer", pa.int16()),
    ("credit", pa.float64()), ("released_credit", pa.float64()),  # in 0..1; null = missing
])  # fmt: skip
GROUP_PARTS = ("text", "image", "group")
GROUP_SCORE = pa.schema([
    *_COMMON, ("scores", pa.list_(pa.float64())),  # image by caption: aa, ab, ba, bb
    *[(f"{name}_credit", pa.float64()) for name in GROUP_PARTS],
    *[(f"released_{name}_credit", pa.float64()) for name in GROUP_PARTS],
])  # fmt: skip
RANK_SCORE = pa.schema([
    *_COMMON, ("direction", pa.string()),  # text_to_image: a row a caption; image_to_text: a row an image
    ("text", pa.string()),
    *[(name, pa.int64()) for name in ("above", "tied", "positives", "before")],  # -1 = missing; see metrics.ranking
])  # fmt: skip


def score(benchmark: ReleasedBenchmark, items: pa.Table, vectors: Vectors, ranker: Ranker = rank) -> pa.Table:
    """One row an item (of retrieval: one a caption and one an image), `CHOICE_SCORE`, `GROUP_SCORE`, `RANK_SCORE` or
    `CLASS_SCORE`."""
    if benchmark.task == "choose_text":
        scores, valid = text_scores(items, vectors)
        return choice_table(items, scores, valid, benchmark.released_tie)
    if benchmark.task == "retrieve":
        return _ranks(items, vectors, ranker)
    if benchmark.task in ("classify", "probe"):
        return class_table(items, vectors)
    scorers = {"choose_region": _regions, "two_by_two": _groups}
    return scorers[benchmark.task](items, vectors)


def pair_scores(vectors: Vectors, pictures: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """float64[n]: cosine of each pair of rows; NaN where one of them is -1."""
    found = np.full(len(pictures), np.nan)
    known = np.flatnonzero((pictures >= 0) & (texts >= 0))
    for start in range(0, len(known), 8192):
        part = known[start : start + 8192]
        left, right = vectors.picture_vectors[pictures[part]], vectors.text_vectors[texts[part]]
        found[part] = np.einsum("ij,ij->i", left, right, dtype=np.float64)
    return found


def choice_table(
    items: pa.Table, scores: np.ndarray, valid: np.ndarray, released_tie: Literal["first", "lose"] = "first"
) -> pa.Table:
    """`CHOICE_SCORE` rows of items of choose_text, whatever scored them.

    scores: float[n, k], NaN = missing; valid: bool[n, k], which cells are options.
    """
    answers = np.array(items["answer"].to_pylist(), np.int64)
    credit = shared_credits(scores, answers, valid)
    by_release = released_credits if released_tie == "first" else strict_credits
    released = np.where(np.isnan(credit), np.nan, by_release(scores, answers, valid))
    rows = [row[ok].tolist() for row, ok in zip(scores, valid, strict=True)]
    return _table(CHOICE_SCORE, items, scores=rows, answer=answers, credit=credit, released_credit=released)


def text_scores(items: pa.Table, vectors: Vectors) -> tuple[np.ndarray, np.ndarray]:
    """(float64[n, k] cosines of each item's image and texts, bool[n, k] which cells are texts); NaN without a vector."""
    texts = items["texts"].to_pylist()
    sizes = np.array([len(options) for options in texts])
    valid = np.arange(sizes.max()) < sizes[:, None]
    pictures = vectors.pictures([row[0] for row in pictures_of(items)])
    scores = np.full(valid.shape, -np.inf)
    scores[valid] = pair_scores(
        vectors, np.repeat(pictures, sizes), vectors.texts([text for options in texts for text in options])
    )
    return scores, valid


def _regions(items: pa.Table, vectors: Vectors) -> pa.Table:
    pictures, texts = pictures_of(items), items["texts"].to_pylist()
    answers, rows, credit, released = items["answer"].to_pylist(), [], [], []
    for regions, (text,), answer in zip(pictures, texts, answers, strict=True):
        row = pair_scores(vectors, vectors.pictures(regions), np.repeat(vectors.texts([text]), len(regions)))
        boxes = [region.box for region in regions]
        rows.append(row.tolist())
        credit.append(grounding_credit(row.tolist(), boxes, boxes[answer]))
        known = not np.isnan(row).any()
        released.append(released_grounding(row.tolist(), boxes, boxes[answer]) if known else float("nan"))
    return _table(CHOICE_SCORE, items, scores=rows, answer=answers, credit=credit, released_credit=released)


def _groups(items: pa.Table, vectors: Vectors) -> pa.Table:
    pictures = vectors.pictures([picture for row in pictures_of(items) for picture in row]).reshape(-1, 2)
    texts = vectors.texts([text for row in items["texts"].to_pylist() for text in row]).reshape(-1, 2)
    scores = pair_scores(vectors, pictures.repeat(2, axis=1).ravel(), np.tile(texts, 2).ravel()).reshape(-1, 2, 2)
    return group_table(items, scores)


def group_table(items: pa.Table, scores: np.ndarray) -> pa.Table:
    """`GROUP_SCORE` rows of items of two_by_two, whatever scored them. scores: float[n, 2, 2], image by caption, NaN = missing."""
    shared, strict = group_scores(scores), released_group_scores(scores)

    def columns(found: GroupScores, prefix: str) -> dict[str, np.ndarray]:
        return {f"{prefix}{name}_credit": getattr(found, name) for name in GROUP_PARTS}

    flat = scores.reshape(-1, 4).tolist()
    return _table(GROUP_SCORE, items, scores=flat, **columns(shared, ""), **columns(strict, "released_"))


def _ranks(items: pa.Table, vectors: Vectors, ranker: Ranker) -> pa.Table:
    """Both directions over the images and captions that have vectors; the others' rows are -1 and in nobody's way."""
    captions = items["texts"].to_pylist()
    owner = np.repeat(np.arange(len(captions)), [len(row) for row in captions])
    pictures = vectors.pictures([row[0] for row in pictures_of(items)])
    texts = vectors.texts([text for row in captions for text in row])
    usable = (pictures[owner] >= 0) & (texts >= 0)
    shown, said = np.flatnonzero(pictures >= 0), np.flatnonzero(usable)  # captions of lost images are no distractors
    image_place = {image: at for at, image in enumerate(shown.tolist())}
    positives: list[list[int]] = [[] for _ in shown]
    for at, text in enumerate(said.tolist()):
        positives[image_place[int(owner[text])]].append(at)
    if not len(said):
        both = [_spread(None, said, len(texts)), _spread(None, shown, len(captions))]
    else:
        images, words = vectors.picture_vectors[pictures[shown]], vectors.text_vectors[texts[said]]
        by_text = ranker(words, images, [[image_place[int(owner[text])]] for text in said])
        both = [_spread(by_text, said, len(texts)), _spread(ranker(images, words, positives), shown, len(captions))]
    flat = [text for row in captions for text in row]
    tables = []
    for direction, rows, ranks in (
        ("text_to_image", owner, both[0]),
        ("image_to_text", np.arange(len(captions)), both[1]),
    ):
        chosen = items.take(pa.array(rows, pa.int64()))
        said_text = flat if direction == "text_to_image" else [None] * len(rows)
        tables.append(_table(RANK_SCORE, chosen, direction=[direction] * len(rows), text=said_text, **ranks))
    return pa.concat_tables(tables)


def ranks_of(table: pa.Table) -> Ranks:
    """The ranks in `RANK_SCORE` rows."""
    return Ranks(*(table[name].to_numpy() for name in ("above", "tied", "positives", "before")))


def _spread(ranks: Ranks | None, rows: np.ndarray, size: int) -> dict[str, np.ndarray]:
    found = {}
    for name in ("above", "tied", "positives", "before"):
        found[name] = np.full(size, -1, np.int64)
        if ranks is not None:
            found[name][rows] = getattr(ranks, name)
    return found


def _table(schema: pa.Schema, items: pa.Table, **columns: Any) -> pa.Table:
    images = [row[0] for row in items["images"].to_pylist()]
    held: dict[str, Any] = {
        "id": items["id"],
        "image_id": images,
        "type": items["type"],
        "group": items["group"],
        **columns,
    }
    arrays = []
    for column in schema:
        values = held[column.name]
        if isinstance(values, pa.ChunkedArray):
            arrays.append(values.cast(column.type).combine_chunks())
            continue
        if column.type == pa.float64():
            values = [None if value is None or value != value else float(value) for value in values]
        arrays.append(pa.array(values, column.type))
    return pa.Table.from_arrays(arrays, schema=schema)
