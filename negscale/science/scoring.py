"""From an encoder to credits: one row an item and column, kept, so that intervals and comparisons are taken later.

The image tower is frozen in every method: pictures are embedded once a seed, and only texts anew.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from negscale.benchmarks.controls import blind_controls, with_other_images
from negscale.benchmarks.encoding import Vectors, pictures_of
from negscale.benchmarks.pictures import Picture
from negscale.benchmarks.released import Task
from negscale.benchmarks.scoring import ranks_of, score
from negscale.core.arrow import compute as pc
from negscale.core.backend import DualEncoder, Image
from negscale.datasets.toyworld_referring import PairsReader
from negscale.metrics.retrieval import expected_hits
from negscale.science.exams import LEXICON, Exam

CREDIT = pa.schema([("column", pa.string()), ("image", pa.string()), ("credit", pa.float64())])
COLUMNS = (
    "retrieval", "retrieval_neg", "mcq_positive", "mcq_negative", "mcq_hybrid", "mcq", "groups", "negref", "zero_shot",
    "mcq_other_images",
)  # fmt: skip
NEGATION = ("retrieval_neg", "mcq_negative", "mcq_hybrid", "mcq", "groups", "negref")
RECALL_AT = 5
_PART = 256


def seen(encoder: DualEncoder, exams: Sequence[Exam]) -> tuple[dict[Picture, int], np.ndarray]:
    """Vectors float32[P, D] of all pictures of the exams, and where each stands. The encoder is loaded."""
    pictures = sorted({picture for exam in exams for row in pictures_of(exam.items) for picture in row})
    reader = PairsReader()
    parts = [
        encoder.encode_images([_pixels(reader, picture) for picture in pictures[at : at + _PART]])
        for at in range(0, len(pictures), _PART)
    ]
    return {picture: at for at, picture in enumerate(pictures)}, np.concatenate(parts)


def texts_of(exams: Sequence[Exam]) -> list[str]:
    """The distinct texts of the exams, sorted."""
    return sorted({text for exam in exams for row in exam.items["texts"].to_pylist() for text in row})


def vectors_of(pictures: tuple[dict[Picture, int], np.ndarray], texts: Sequence[str], encoder: DualEncoder) -> Vectors:
    """Pictures as they were embedded, texts by `encoder`, which is loaded."""
    return Vectors(pictures[0], {text: at for at, text in enumerate(texts)}, pictures[1], encoder.encode_texts(texts))


def credits_of(exams: Sequence[Exam], vectors: Vectors) -> pa.Table:
    """`CREDIT` rows of every exam, questions by type too; `..._other_images`: asked about other images, what texts alone give."""
    found = []
    for exam in exams:
        rows = score(exam.benchmark(), exam.items, vectors)
        if exam.task == "retrieve":
            rows = rows.filter(pc.equal(rows["direction"], "text_to_image"))
            found.append(_credits(exam.name, rows, expected_hits(ranks_of(rows), RECALL_AT)))
        elif exam.task == "two_by_two":
            found.append(_credits(exam.name, rows, rows["group_credit"].to_numpy()))
        else:
            found.append(_credits(exam.name, rows, rows["credit"].to_numpy()))
        for kind in exam.types:
            part = rows.filter(pc.equal(rows["type"], kind))
            found.append(_credits(f"{exam.name}_{kind}", part, part["credit"].to_numpy()))
        if exam.types:
            moved = score(exam.benchmark(), with_other_images(exam.items), vectors)
            found.append(_credits(f"{exam.name}_other_images", moved, moved["credit"].to_numpy()))
    return pa.concat_tables(found)


def blind_credits(
    exams: Sequence[Exam], solver: str = "", tasks: Sequence[Task] = ("choose_text", "choose_region")
) -> pa.Table:
    """`CREDIT` rows of a solver without images; default: the strongest of those that judge each option (or box) alone."""
    found = []
    for exam in exams:
        if exam.task not in tasks or (exam.task == "choose_text" and not exam.types):
            continue
        controls = blind_controls(exam.task, exam.items, exam.name, LEXICON)
        credit = controls.credits[solver or controls.strongest()]
        table = pa.table({"image_id": list(controls.images), "type": exam.items["type"]})
        found.append(_credits(exam.name, table, credit))
        for kind in exam.types:
            chosen = np.array(exam.items["type"].to_pylist()) == kind
            found.append(_credits(f"{exam.name}_{kind}", table.filter(pa.array(chosen)), credit[chosen]))
    return pa.concat_tables(found)


def _credits(column: str, rows: pa.Table, credit: np.ndarray) -> pa.Table:
    return pa.table([[column] * len(rows), rows["image_id"].to_pylist(), credit.tolist()], CREDIT)


def _pixels(reader: PairsReader, picture: Picture) -> Image:
    image = reader.read({"uri": picture.path})
    if not picture.box:
        return image
    left, top, width, height = (round(value) for value in picture.box)
    return image[max(top, 0) : top + height, max(left, 0) : left + width]
