"""Benchmarks of texts put to a multimodal LLM: what it is asked, and its answers as the same rows that dual encoders have.

An answer is a score of 1 for the chosen text, or for each text that it calls true, and 0 for the others: ties share the
credit, as everywhere, so that a model that says yes to all has chance. NegBench (arXiv 2501.09425) prints LLaVA's accuracy
in a figure, with neither items nor unparsable answers; VALSE's authors (arXiv 2112.07566) ask models with such a head
whether caption and foil fit. Regions, retrieval and classes are for encoders: their items would be asked a thousand times.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256

import numpy as np
import pyarrow as pa

from negscale.benchmarks.controls import Controls, blind_controls
from negscale.benchmarks.evaluation import score as figures_of
from negscale.benchmarks.figures import metrics_of
from negscale.benchmarks.released import ReleasedBenchmark
from negscale.benchmarks.released_run import Evaluated, Prepared
from negscale.benchmarks.scoring import choice_table, group_table
from negscale.core.errors import ConfigError
from negscale.core.image import ImageError
from negscale.core.stage import Fault
from negscale.datasets.asked import ASKED_FILE, asked_id
from negscale.datasets.images import ImageReader
from negscale.questions.lexicon import ANNOTATED, Lexicon
from negscale.storage.run_folder import RunFolder

TASKS = ("choose_text", "two_by_two")
SHARD_ROWS = 256
OTHER_IMAGES = "the model, other images"
_READERS = 8
Question = tuple[str, tuple[str, ...]]  # an image below the image root, and texts


@dataclass(frozen=True)
class Answers:
    """Scores of the texts of each question, and why others have none."""

    scores: Mapping[Question, Sequence[float]]
    faults: Mapping[Question, Fault] = field(default_factory=dict)


def questions_of_items(benchmark: ReleasedBenchmark, items: pa.Table) -> list[list[Question]]:
    """What is asked of each item: one question, or one an image of a 2 x 2 group. Raises ConfigError for other tasks."""
    if benchmark.task not in TASKS:
        raise ConfigError(
            f"{benchmark.name}: a task {benchmark.task!r} cannot be put to a chat model; {' and '.join(TASKS)} can"
        )
    found = []
    for images, texts in zip(items["images"].to_pylist(), items["texts"].to_pylist(), strict=True):
        found.append([(image, tuple(texts)) for image in images])
    return found


def asked_rows(
    questions: Iterable[Question], reader: ImageReader
) -> tuple[pa.Table, dict[Question, str], dict[Question, Fault]]:
    """(`ASKED_FILE` rows of the distinct questions, question -> id, faults of those whose image cannot be read).

    Questions with the same content share an id, whatever their images are called.
    """
    distinct = sorted(set(questions))

    def content(path: str) -> bytes | Fault:
        try:
            return sha256(reader.read_bytes({"uri": path})).digest()
        except ImageError as error:
            return Fault(error.kind, error.message, error.retryable)

    paths = sorted({image for image, _ in distinct})
    with ThreadPoolExecutor(_READERS) as pool:
        contents = dict(zip(paths, pool.map(content, paths), strict=True))
    ids: dict[Question, str] = {}
    faults: dict[Question, Fault] = {}
    rows: dict[str, dict[str, object]] = {}
    for image, texts in distinct:
        digest = contents[image]
        if isinstance(digest, Fault):
            faults[image, texts] = digest
            continue
        name = ids[image, texts] = asked_id(digest, texts)
        rows.setdefault(name, {"id": name, "image": {"uri": image, "sha256": digest}, "texts": list(texts)})
    held = [{**row, "shard": f"asked-{at // SHARD_ROWS:05d}"} for at, row in enumerate(rows.values())]
    return pa.Table.from_pylist(held, ASKED_FILE), ids, faults


def read_answers(run: RunFolder, ids: Mapping[Question, str], faults: Mapping[Question, Fault]) -> Answers:
    """What a run of `negscale.pipelines.answers` holds of the questions; faults: of those that were never put to it."""
    scores: dict[str, list[float]] = {}
    broken: dict[str, Fault] = {}
    for kind in ("data", "quarantine"):
        for _, table in run.tables(kind, ["id", "text_scores", "quarantine"]):
            for row in table.to_pylist():
                if row["quarantine"]:
                    broken[row["id"]] = Fault(row["quarantine"]["kind"], row["quarantine"]["message"])
                else:
                    scores[row["id"]] = row["text_scores"]
    never = Fault("not_asked", f"no finished shard of {run.uri} holds it")
    lost = {question: broken.get(name, never) for question, name in ids.items() if name not in scores}
    return Answers({q: scores[name] for q, name in ids.items() if name in scores}, {**faults, **lost})


def answer_table(benchmark: ReleasedBenchmark, items: pa.Table, answers: Answers) -> pa.Table:
    """One row an item, `CHOICE_SCORE` or `GROUP_SCORE`, exactly as `negscale.benchmarks.scoring.score` gives them."""
    questions = questions_of_items(benchmark, items)
    if benchmark.task == "two_by_two":
        scores = np.array([
            [answers.scores.get(question, [np.nan, np.nan]) for question in asked] for asked in questions
        ], float)  # fmt: skip
        return group_table(items, scores.reshape(-1, 2, 2))
    sizes = [len(texts) for ((_, texts),) in questions]
    valid = np.arange(max(sizes)) < np.array(sizes)[:, None]
    scores = np.full(valid.shape, -np.inf)
    for at, (question,) in enumerate(questions):
        scores[at, : sizes[at]] = answers.scores.get(question, [np.nan] * sizes[at])
    return choice_table(items, scores, valid, benchmark.released_tie)


def evaluate_answers(
    one: Prepared, answers: Answers, *, blind: Controls | None = None, lexicon: Lexicon = ANNOTATED, seed: int = 0
) -> Evaluated:  # fmt: skip
    """A benchmark scored by a chat model's answers, beside the same controls as a dual encoder's.

    Not the model with other images: that would ask everything twice.
    """
    benchmark, items = one.benchmark, one.located.items
    rows = answer_table(benchmark, items, answers)
    typed = any(items["type"].to_pylist())
    figures = tuple(figures_of(rows, metrics_of(benchmark.task, seed), "type" if typed else ""))
    if blind is None:
        blind = blind_controls(benchmark.task, items, benchmark.name, lexicon, seed)
    credit = rows["credit"].to_numpy(zero_copy_only=False) if "credit" in rows.column_names else None
    gain = None if credit is None else blind.gain(credit, seed)
    skipped = {**blind.skipped, OTHER_IMAGES: "a chat model would be asked everything twice"}
    notes = {**one.reading.notes, "images not found": one.located.missing, "files not read": len(one.unread)}
    for asked in questions_of_items(benchmark, items):
        for question in asked:
            if fault := answers.faults.get(question):
                notes[f"fault {fault.kind}"] = notes.get(f"fault {fault.kind}", 0) + 1
    said = {name: count for name, count in notes.items() if count}
    return Evaluated(benchmark, rows, figures, blind, blind.estimates(seed), gain, said, skipped)
