"""NeIn's scores of an editor (Bui et al., arXiv 2409.06481, section 4), and what they leave out.

Removal: the denied object is gone. Retention: of what the input shows of its caption, the share that is still there. AUC-
removal, L1, L2, CLIP-I, DINO, LPIPS, FID as in the paper's table; the release lacks FID and LPIPS. What differs: an
editor that erases the noun of any sentence is exposed by instructions that must change nothing (`affirmative`, `keep`);
`removal_of_seen` leaves out inputs in which the judge never saw the object; intervals are over images; what is missing is
counted. Where the released scripts would give another number it stands beside, as released.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
import pyarrow as pa

from negscale.benchmarks.evaluation import NOTHING, SET_UNIT, Benchmark, mean_of, share_of
from negscale.core.arrow import compute as pc
from negscale.core.benchmark import Estimate, Metric
from negscale.core.rng import rng_for
from negscale.metrics import editing
from negscale.metrics.frechet import frechet_distance, frechet_interval
from negscale.stages.edit_queries import COLUMNS, KINDS, queries_of

JUDGES = ("vqa", "detector")
_DISTANCES = (
    "l1",
    "l2",
    "l1_edited_size",
    "l2_edited_size",
    "change_l1",
    "change_peak",
    "clip_cosine",
    "dino_cosine",
    "lpips",
)
_FEATURES = ("edited_features", "wanted_features")
_READ = {
    "id", "image_id", "absent_object", "caption_objects", "edit_query", *_DISTANCES,
    *(column for columns in COLUMNS.values() for column in columns),
    *(f"{judge}_{when}" for judge in JUDGES for when in ("input", "edit")),
}  # fmt: skip
ITEM = pa.schema([
    ("id", pa.string()), ("row_id", pa.string()),  # of the query, and of the quintuplet
    ("image_id", pa.string()), ("object", pa.string()), ("kind", pa.string()), ("instruction", pa.string()),
    *[
        (f"{judge}_{name}", type_) for judge in JUDGES for name, type_ in (
            ("before", pa.bool_()), ("seen", pa.bool_()), ("score", pa.float64()), ("answer", pa.string()),
            ("objects", pa.int16()),  # of the caption that the judge saw in the input
            ("retention", pa.float64()),
        )
    ],
    *[(name, pa.float64()) for name in _DISTANCES],
    *[(name, pa.list_(pa.float32())) for name in _FEATURES],
])  # fmt: skip


def items(rows: pa.Table) -> pa.Table:
    """One item a query, `ITEM`'s columns; a row that broke before it was split gives an empty item for each instruction."""
    read = [name for name in rows.column_names if name in _READ]
    found: list[dict[str, Any]] = []
    places: list[int | None] = []  # of each item's row, for the features, which stay in Arrow
    for place, row in enumerate(rows.select(read).to_pylist()):
        whole = row.get("edit_query") is not None
        queries = [row["edit_query"]] if whole else queries_of(row)
        found += [_item(row, query, None if whole else number) for number, query in enumerate(queries)]
        places += [place if whole else None] * len(queries)
    table = pa.Table.from_pylist(found, pa.schema([field for field in ITEM if field.name not in _FEATURES]))
    for name in _FEATURES:
        there = name in rows.column_names
        column = rows[name].take(pa.array(places, pa.int64())) if there else pa.nulls(len(table), ITEM.field(name).type)
        table = table.append_column(ITEM.field(name), column)
    return table


def _item(row: Mapping[str, Any], query: Mapping[str, Any], number: int | None) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": row["id"] if number is None else f"{row['id']}#{number}",
        "row_id": row["id"].rpartition("#")[0] if number is None else row["id"], "image_id": row["image_id"],
        "object": row["absent_object"], "kind": query["kind"], "instruction": query["instruction"],
        **{name: row.get(name) for name in _DISTANCES},
    }  # fmt: skip
    for judge in JUDGES:
        before, after = _by_name(row.get(f"{judge}_input")), _by_name(row.get(f"{judge}_edit"))
        asked = after.get(row["absent_object"], {})
        kept = [name for name in row.get("caption_objects") or () if name != row["absent_object"]]
        seen_before = {name: before[name]["seen"] for name in kept if name in before}
        item |= {
            f"{judge}_before": before.get(row["absent_object"], {}).get("seen"), f"{judge}_seen": asked.get("seen"),
            f"{judge}_score": asked.get("score"), f"{judge}_answer": asked.get("answer"),
            f"{judge}_objects": sum(map(bool, seen_before.values())) if before else None,
            f"{judge}_retention": editing.retained(seen_before, {name: said["seen"] for name, said in after.items()}),
        }  # fmt: skip
    return item


def _by_name(seen: Sequence[Mapping[str, Any]] | None) -> dict[str, Mapping[str, Any]]:
    return {one["object"]: one for one in seen or ()}


# -- metrics ------------------------------------------------------------------------------------------------------------

Values = Callable[[pa.Table], list[Any]]


class _Maker:
    """Builds the metrics with the report's settings; every interval has a generator of its own, named by its metric."""

    def __init__(self, report: Any) -> None:
        self.report = report

    def over(
        self, name: str, kind: str, values: Values, better: bool | None = True, *, unit: str = "fraction",
        credits: bool = True, released: Callable[[pa.Table], Estimate] | None = None, factor: float = 1.0,
        offset: float = 0.0,
    ) -> Metric:  # fmt: skip
        """A mean of one value an item of one kind of instruction."""

        def reduce(table: pa.Table) -> Estimate:
            chosen = of_kind(table, kind)
            numbers = [None if value is None else float(value) for value in values(chosen)]
            return mean_of(
                numbers, chosen["image_id"].to_pylist(), self.rng(name), self.report.draws, credits, factor, offset
            )

        as_released = None if released is None else (lambda table: released(of_kind(table, kind)))
        return Metric(name, unit, better, reduce, as_released)

    def rng(self, name: str) -> np.random.Generator:
        return rng_for(self.report.seed, "nein", name)


def of_kind(table: pa.Table, kind: str) -> pa.Table:
    """The items of one kind of instruction."""
    return table.filter(pc.equal(table["kind"], kind))


def metrics(config: Any) -> list[Metric]:
    """The metrics for which the evaluation's config has a judge or a measure."""
    make = _Maker(config.report)
    judges = [judge for judge in JUDGES if getattr(config, judge) is not None]
    kinds = config.kinds or KINDS
    found = [metric for judge in judges for metric in _removal(make, judge)]
    if len(judges) == 2:
        found.append(make.over("removal/judges_agree", "negative", _agreement, None))
    found += [metric for judge in judges for metric in _retention(make, judge, "negative", "")]
    found += _image_quality(make, config)
    for kind in ("affirmative", "keep"):
        if kind in kinds:
            found += _control(make, kind, judges)
    if "two_objects" in kinds:
        for judge in judges:
            found.append(make.over(f"two_objects/removal/{judge}", "two_objects", _gone(judge)))
            found += _retention(make, judge, "two_objects", "two_objects/")
    found += [_obedience(make, judge, [k for k in KINDS if k in kinds]) for judge in judges]
    return found


def _removal(make: _Maker, judge: str) -> list[Metric]:
    report = make.report

    def released(table: pa.Table) -> Estimate:
        rows = report.released_rows or len(table)
        if judge == "detector":
            return _released([None if g is None else float(g) for g in _gone(judge)(table)], rows)
        answers = table[f"{judge}_answer"].to_pylist()
        if not any(map(editing.says_yes_or_no, answers)):
            return Estimate(nan, 0, len(answers))  # this judge does not answer in words
        return Estimate(editing.released_removal(answers, rows), rows)

    def auc_released(table: pa.Table) -> Estimate:
        pairs = [
            pair for pair in zip(_column("detector_score")(table), _column("detector_seen")(table), strict=True)
            if None not in pair
        ]  # fmt: skip
        return Estimate(editing.released_auc_removal(*zip(*pairs, strict=True)), len(pairs)) if pairs else NOTHING

    found = [
        make.over(f"removal/{judge}", "negative", _gone(judge), released=released),
        make.over(f"removal_of_seen/{judge}", "negative", _where_seen(judge, _gone(judge))),
    ]
    if judge == "detector":
        found.append(
            make.over(
                "auc_removal", "negative", _column("detector_score"), unit="percent", credits=False, factor=-100.0,
                offset=100.0, released=auc_released,
            )
        )  # fmt: skip
    return found


def _released(values: Sequence[float | None], rows: int) -> Estimate:
    return Estimate(editing.released_mean(values, rows), rows)


def _retention(make: _Maker, judge: str, kind: str, prefix: str) -> list[Metric]:
    def released(table: pa.Table) -> Estimate:
        with_objects = sum(bool(count) for count in table[f"{judge}_objects"].to_pylist())
        rows = make.report.released_retention_rows or with_objects
        return _released(_column(f"{judge}_retention")(table), rows) if rows else NOTHING

    name = f"{prefix}retention/{judge}"
    return [make.over(name, kind, _column(f"{judge}_retention"), released=released if kind == "negative" else None)]


def _image_quality(make: _Maker, config: Any) -> list[Metric]:
    found = [
        make.over(name, "negative", _column(name), False, unit="fraction", credits=False)
        for name in ("l1", "l2", "l1_edited_size", "l2_edited_size")
    ]
    for role in ("clip", "dino"):
        if getattr(config, role) is not None:
            name = "clip_i" if role == "clip" else "dino"
            found.append(make.over(name, "negative", _column(f"{role}_cosine"), unit="cosine", credits=False))
    if config.lpips is not None:
        found.append(make.over("lpips", "negative", _column("lpips"), False, unit="distance", credits=False))
    if config.fid is not None:
        # the name says whose features they are: only Inception's give what papers call FID
        name = "fid" if config.fid.kind == "inception_features" else f"frechet/{config.fid.kind}"
        found.append(Metric(name, SET_UNIT, False, lambda table: _frechet(make, name, of_kind(table, "negative"))))
    return found


def _frechet(make: _Maker, name: str, table: pa.Table) -> Estimate:
    known = table.filter(pc.and_(*(pc.is_valid(table[name]) for name in _FEATURES)))
    missing = len(table) - len(known)
    if len(known) < 2:
        return Estimate(nan, 0, missing)
    edited, wanted = (_matrix(known[name]) for name in _FEATURES)
    images, parts = known["image_id"].to_pylist(), make.report.fid_parts
    value = frechet_distance(edited, wanted)
    if not parts or len(set(images)) < 2 * parts:
        return Estimate(value, len(known), missing)
    return Estimate(value, len(known), missing, *frechet_interval(edited, wanted, images, make.rng(name), parts))


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """float32[N, D] of a column of lists of one length."""
    flat = pc.list_flatten(column).to_numpy()
    return flat.reshape(len(column), -1)


def _control(make: _Maker, kind: str, judges: Sequence[str]) -> list[Metric]:
    """An instruction that asks for nothing to go: what is still there, and how much of the picture changed."""
    found = []
    for judge in judges:
        found += [
            make.over(f"{kind}/object_stays/{judge}", kind, _where_seen(judge, _column(f"{judge}_seen"))),
            *_retention(make, judge, kind, f"{kind}/"),
            make.over(f"{kind}/respected/{judge}", kind, _nothing_lost(judge)),
        ]
    limit = make.report.unchanged_peak
    return [
        *found,
        make.over(f"{kind}/unchanged", kind, lambda table: [_at_most(v, limit) for v in _column("change_peak")(table)]),
        make.over(f"{kind}/change_l1", kind, _column("change_l1"), False, credits=False),
    ]


def _obedience(make: _Maker, judge: str, kinds: Sequence[str]) -> Metric:
    """Share of quintuplets of which every instruction is obeyed: one number that no fixed habit can win."""

    def reduce(table: pa.Table) -> Estimate:
        obeyed: dict[str, list[bool | None]] = {}
        image_of: dict[str, str] = {}
        for kind in kinds:
            chosen = of_kind(table, kind)
            values = _where_seen(judge, _gone(judge)) if kind in ("negative", "two_objects") else _nothing_lost(judge)
            columns = (chosen["row_id"].to_pylist(), chosen["image_id"].to_pylist(), values(chosen))
            for row_id, image_id, value in zip(*columns, strict=True):
                obeyed.setdefault(row_id, []).append(value)
                image_of[row_id] = image_id
        # one instruction that failed settles it; one that is unknown does not
        hits = [False if False in found else None if None in found else True for found in obeyed.values()]
        return share_of(hits, list(image_of.values()), make.rng(f"obedience/{judge}"), make.report.draws)

    return Metric(f"obedience/{judge}", "fraction", True, reduce)


def _column(name: str) -> Values:
    return lambda table: table[name].to_pylist()


def _gone(judge: str) -> Values:
    """Whether the object is gone; None where the judge does not say."""
    return lambda table: [editing.removed(seen) for seen in table[f"{judge}_seen"].to_pylist()]


def _where_seen(judge: str, values: Values) -> Values:
    """`values` of the items in whose input the judge saw the object; None for the others."""
    return lambda table: [
        value if before else None
        for value, before in zip(values(table), table[f"{judge}_before"].to_pylist(), strict=True)
    ]


def _nothing_lost(judge: str) -> Values:
    """Whether the object and everything else that was seen before is still seen; None where that is unknown."""

    def values(table: pa.Table) -> list[bool | None]:
        names = ("before", "seen", "objects", "retention")
        return [_kept(*row) for row in zip(*(table[f"{judge}_{name}"].to_pylist() for name in names), strict=True)]

    return values


def _kept(before: bool | None, seen: bool | None, objects: int | None, retention: float | None) -> bool | None:
    if not before or seen is None or (objects and retention is None):
        return None
    return seen and (not objects or retention == 1)


def _agreement(table: pa.Table) -> list[bool | None]:
    pairs = zip(*(table[f"{judge}_seen"].to_pylist() for judge in JUDGES), strict=True)
    return [None if None in pair else pair[0] == pair[1] for pair in pairs]


def _at_most(value: float | None, limit: float) -> bool | None:
    return None if value is None else value <= limit


NEIN = Benchmark(
    name="nein", summary="removal and retention by edits from negative instructions (arXiv 2409.06481)",
    recipe="nein_eval", items=items, metrics=metrics, group="object", bulky=_FEATURES,
)  # fmt: skip
