"""All released benchmarks of a root on one dual encoder: read, find, encode once, score, set beside the controls.

Five repositories each do this for their own benchmark (NegBench, NegationCLIP, VALSE, SugarCrepe, CoN-CLIP). What differs is in
the parts; this is their order. Nothing is lost in between: what a root lacks, what was noticed in a file, images that are
not there, texts that the model cut and vectors that are not finite are all in the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from negscale.benchmarks.catalogue import Absent, survey
from negscale.benchmarks.controls import Controls, blind_controls, with_other_images
from negscale.benchmarks.embeddings import EmbeddingStore
from negscale.benchmarks.encoding import Encoded, encode, wanted
from negscale.benchmarks.evaluation import Score
from negscale.benchmarks.evaluation import score as figures_of
from negscale.benchmarks.figures import metrics_of
from negscale.benchmarks.found_images import ImageIndex, Located, locate
from negscale.benchmarks.released import Reading, ReleasedBenchmark
from negscale.benchmarks.scoring import score
from negscale.core.backend import DualEncoder
from negscale.core.benchmark import Estimate
from negscale.core.errors import ConfigError, PlanError
from negscale.datasets.images import ImageReader
from negscale.metrics.paired import Difference
from negscale.questions.lexicon import ANNOTATED, Lexicon


@dataclass(frozen=True)
class Prepared:
    """One benchmark with its items, their images found."""

    benchmark: ReleasedBenchmark
    reading: Reading
    located: Located
    unread: tuple[str, ...] = ()


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

    A benchmark whose images are another split is refused and said; one that was asked for by name raises ConfigError.
    """
    present, absent = survey(data_root, names)
    index = ImageIndex.of(image_root)
    prepared: list[Prepared] = []
    refused: dict[str, str] = {}
    for found in present:
        reading = found.benchmark.items(*found.paths)
        try:
            located = locate(reading.items, index, found.benchmark.images, allow_missing=allow_missing)
        except ConfigError as error:
            if names:
                raise
            refused[found.benchmark.name] = str(error)
        else:
            prepared.append(Prepared(found.benchmark, reading, located, found.unread))
    return Survey(tuple(prepared), tuple(absent), refused)


def encode_all(
    encoder: DualEncoder, prepared: Sequence[Prepared], image_root: str, store_root: str
) -> Encoded:  # fmt: skip
    """Vectors of the union of all benchmarks' pictures and texts."""
    pictures, texts = wanted(one.located.items for one in prepared)
    return encode(encoder, pictures, texts, ImageReader(image_root), EmbeddingStore(store_root, encoder.id))


def evaluate(one: Prepared, encoded: Encoded, *, lexicon: Lexicon = ANNOTATED, seed: int = 0) -> Evaluated:
    """Score one benchmark. Pure: the same items and vectors give the same result."""
    benchmark, items, vectors = one.benchmark, one.located.items, encoded.vectors
    rows = score(benchmark, items, vectors)
    metrics = metrics_of(benchmark.task, seed)
    typed = benchmark.task != "retrieve" and any(items["type"].to_pylist())
    figures = tuple(figures_of(rows, metrics, "type" if typed else ""))
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
    return Evaluated(benchmark, rows, figures, blind, controls, gain, _notes(one, items, encoded), skipped)


def _notes(one: Prepared, items: pa.Table, encoded: Encoded) -> dict[str, int]:
    vectors = encoded.vectors
    pictures, texts = wanted([items])
    notes = {
        **one.reading.notes, "images not found": one.located.missing, "files not read": len(one.unread),
        "texts cut by the model": sum(text in vectors.cut for text in texts),
    }  # fmt: skip
    for thing in (*pictures, *texts):
        if fault := vectors.faults.get(thing):
            notes[f"fault {fault.kind}"] = notes.get(f"fault {fault.kind}", 0) + 1
    return {name: count for name, count in notes.items() if count}
