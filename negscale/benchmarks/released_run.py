"""All released benchmarks of a root on one dual encoder: read, find, score, set beside the controls.

Five repositories each do this for their own benchmark (NegBench, NegationCLIP, VALSE, SugarCrepe, CoN-CLIP). What differs is in
the parts; this is their order, before and after the encoding. Nothing is lost in between: what a root lacks, what was
noticed in a file, images that are not there, texts that the model cut and vectors that are not finite are all in the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from negscale.benchmarks.catalogue import Absent, survey
from negscale.benchmarks.controls import Controls, blind_controls, with_other_images
from negscale.benchmarks.encoding import Vectors, wanted
from negscale.benchmarks.evaluation import Score
from negscale.benchmarks.evaluation import score as figures_of
from negscale.benchmarks.figures import metrics_of
from negscale.benchmarks.found_images import ImageIndex, Located, locate
from negscale.benchmarks.released import Reading, ReleasedBenchmark
from negscale.benchmarks.scoring import Ranker, score
from negscale.core.benchmark import Estimate
from negscale.core.errors import ConfigError, PlanError
from negscale.metrics.paired import Difference
from negscale.metrics.ranking import rank
from negscale.questions.lexicon import ANNOTATED, Lexicon


@dataclass(frozen=True)
class Prepared:
    """One benchmark with its items, their images found."""

    benchmark: ReleasedBenchmark
    reading: Reading
    located: Located
    unread: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()  # of the files that were read


@dataclass(frozen=True)
class Evaluated:
    """One benchmark, scored."""

    benchmark: ReleasedBenchmark
    rows: pa.Table  # one an item; see negscale.benchmarks.scoring
    figures: tuple[Score, ...]  # overall and by type, each with the released protocol's value
    blind: Controls
    controls: dict[str, Estimate]  # of the solvers that see no image, and of the model with other images
    gain: tuple[str, Difference] | None  # over the strongest blind solver that judges each option alone
    notes: dict[str, int]  # what was noticed, by kind, with its count
    skipped: dict[str, str] = field(default_factory=dict)  # control -> why it did not run


@dataclass(frozen=True)
class Survey:
    """What a data root gave to evaluate, and what not, with the reason."""

    prepared: tuple[Prepared, ...]
    absent: tuple[Absent, ...]
    refused: dict[str, str]  # benchmark -> why it cannot be scored on this image root


def prepare(
    data_root: str, image_root: str, names: Sequence[str] = (), *, allow_missing: bool = False
) -> Survey:  # fmt: skip
    """Read every benchmark of the data root and find its images below the image root.

    A benchmark whose file cannot be read, or whose images are another split, is refused and said; one that was asked for by
    name raises ConfigError.
    """
    present, absent = survey(data_root, names)
    index = ImageIndex.of(image_root)
    prepared: list[Prepared] = []
    refused: dict[str, str] = {}
    for found in present:
        try:
            reading = found.benchmark.items(*found.paths)
            located = locate(
                reading.items, index, found.benchmark.images, allow_missing=allow_missing, file=found.paths[0]
            )
        except ConfigError as error:
            if names:
                raise
            refused[found.benchmark.name] = str(error)
        else:
            prepared.append(Prepared(found.benchmark, reading, located, found.unread, found.paths))
    return Survey(tuple(prepared), tuple(absent), refused)


def evaluate(
    one: Prepared, vectors: Vectors, *, blind: Controls | None = None, lexicon: Lexicon = ANNOTATED, seed: int = 0,
    ranker: Ranker = rank,
) -> Evaluated:  # fmt: skip
    """Score one benchmark. Pure: the same items and vectors give the same result.

    blind: its `blind_controls`, computed here when not given: they are the same for every model. ranker: ranks what is
    retrieved.
    """
    benchmark, items = one.benchmark, one.located.items
    rows = score(benchmark, items, vectors, ranker)
    metrics = metrics_of(benchmark.task, seed)
    typed = benchmark.task != "retrieve" and any(items["type"].to_pylist())
    figures = tuple(figures_of(rows, metrics, "type" if typed else ""))
    if blind is None:
        blind = blind_controls(benchmark.task, items, benchmark.name, lexicon, seed)
    controls, skipped = blind.estimates(seed), dict(blind.skipped)
    if benchmark.task in ("choose_text", "choose_region"):
        try:
            other = score(benchmark, with_other_images(items, seed), vectors)
            controls["the model, other images"] = metrics[0].reduce(other)
        except PlanError as error:
            skipped["the model, other images"] = str(error)
    credit = rows["credit"].to_numpy(zero_copy_only=False) if "credit" in rows.column_names else None
    gain = None if credit is None else blind.gain(credit, seed)
    return Evaluated(benchmark, rows, figures, blind, controls, gain, _notes(one, items, vectors), skipped)


def _notes(one: Prepared, items: pa.Table, vectors: Vectors) -> dict[str, int]:
    pictures, texts = wanted([items])
    notes = {
        **one.reading.notes, "images not found": one.located.missing, "files not read": len(one.unread),
        "texts cut by the model": sum(text in vectors.cut for text in texts),
    }  # fmt: skip
    for thing in (*pictures, *texts):
        if fault := vectors.faults.get(thing):
            notes[f"fault {fault.kind}"] = notes.get(f"fault {fault.kind}", 0) + 1
    return {name: count for name, count in notes.items() if count}
