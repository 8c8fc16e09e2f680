"""The dataset card: what the rows are, how many of which kind, what made them, what they are not.

Every figure is counted from the rows or taken from the run's manifest. Licences are never guessed.
"""

from __future__ import annotations

import heapq
import html
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from negscale.exports.columns import COUNTED, MEANING, SHOWN
from negscale.exports.finished import FinishedRun
from negscale.exports.licences import licence_of

_EXAMPLES = 5
_SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M", "100M<n<1B", "n>1B")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a card says of the files beside it."""

    data_files: str = "data/train-*.parquet"  # a pattern below the card's folder
    how_to_read: str = (
        '```python\nfrom datasets import load_dataset\nrows = load_dataset("PATH/OF/THIS/FOLDER", split="train")\n```'
    )
    images: str = "Images are referred to (`image_uri`), not contained."
    meanings: Mapping[str, str] = field(default_factory=dict)  # of columns that only this format has
    notes: Sequence[str] = ()  # known limits of the format and of what was left out


@dataclass(slots=True)
class Tally:
    """Counts over the exported rows, and a few of them, chosen by a hash of their ids so that they lie anywhere."""

    rows: int = 0
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    _examples: list[tuple[int, str, dict[str, Any]]] = field(default_factory=list)

    def add(self, table: pa.Table) -> None:
        """Count the rows of one shard."""
        for name in COUNTED:
            if name in table.column_names:
                self.counts.setdefault(name, Counter()).update(str(v) for v in table[name].to_pylist())
        self.rows += len(table)
        for place, row_id in enumerate(table["id"].to_pylist()):
            rank = -int.from_bytes(blake2b(row_id.encode(), digest_size=8).digest(), "big")
            if len(self._examples) < _EXAMPLES or rank > self._examples[0][0]:
                shown = table.select([name for name in SHOWN if name in table.column_names])
                entry = (rank, row_id, shown.slice(place, 1).to_pylist()[0])
                if len(self._examples) < _EXAMPLES:
                    heapq.heappush(self._examples, entry)
                else:
                    heapq.heapreplace(self._examples, entry)

    def examples(self) -> list[dict[str, Any]]:
        """At most five rows, always the same ones for the same data."""
        return [row for _, _, row in sorted(self._examples, key=lambda entry: entry[1])]


def write_card(
    folder: Path,
    finished: FinishedRun,
    schema: pa.Schema,
    tally: Tally,
    license_id: str = "",
    layout: Layout | None = None,
) -> None:
    """Write README.md and recipe.yaml into `folder`. schema: columns of the files; layout: default Parquet files."""
    layout = layout or Layout()
    recipe, values, places = _recipe(finished)
    header = (
        f"# Recipe of {recipe}: `negscale generate {recipe} -c recipe.yaml` with your own places: {', '.join(places)}\n"
    )
    (folder / "recipe.yaml").write_text(
        header + yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
    front = yaml.safe_dump(_front_matter(finished, tally, license_id, layout), sort_keys=False, allow_unicode=True)
    body = "\n\n".join(_sections(finished, schema, tally, license_id, recipe, places, layout))
    (folder / "README.md").write_text(f"---\n{front}---\n\n{body}\n", encoding="utf-8")


def _front_matter(finished: FinishedRun, tally: Tally, license_id: str, layout: Layout) -> dict[str, Any]:
    manifest = finished.manifest
    size = next((i for i in range(len(_SIZES) - 1) if tally.rows < 10 ** (i + 3)), len(_SIZES) - 1)
    licence = {"license": license_id} if license_id else {"license": "other", "license_name": "see-card"}
    return {
        "pretty_name": f"{manifest.name} {manifest.version}: captions with negation", **licence, "language": ["en"],
        "size_categories": [_SIZES[size]], "tags": ["negation", "vision-language", "synthetic", "negscale"],
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": layout.data_files}]}
        ],
    }  # fmt: skip


def _sections(
    finished: FinishedRun, schema: pa.Schema, tally: Tally, license_id: str, recipe: str, places: Sequence[str],
    layout: Layout,
) -> Iterator[str]:  # fmt: skip
    manifest = finished.manifest
    total = manifest.rows_read + manifest.rows_added
    yield f"# {manifest.name} {manifest.version}: captions with negation"
    yield (
        f"{tally.rows:,} rows, made from {manifest.rows_read:,} rows of the source by negscale's pipeline `{manifest.name}`. "
        f"{layout.images}"
    )
    yield layout.how_to_read
    yield (
        "## Licence\n\n"
        + (f"`{license_id}`, as given by whoever exported it. " if license_id else "No licence was given at export. ")
        + "Images and original captions keep the licences of their source; the licences of the models are listed below."
    )
    for name, counts in tally.counts.items():
        yield f"## {name.replace('_', ' ').capitalize()}\n\n" + _table(
            ("", "rows", "share"), [(k, f"{n:,}", _share(n, tally.rows)) for k, n in counts.most_common()]
        )
    yield "## What became of the source's rows\n\n" + _table(
        ("", "rows", "share"),
        [
            ("kept", f"{manifest.rows_kept:,}", _share(manifest.rows_kept, total)),
            ("rejected", f"{manifest.rows_rejected:,}", _share(manifest.rows_rejected, total)),
            ("quarantined", f"{manifest.rows_quarantined:,}", _share(manifest.rows_quarantined, total)),
        ],
    )
    yield "### Reject reasons\n\n" + _reasons(manifest.rejected, total, "No row was rejected.")
    yield "### Quarantine\n\n" + _reasons(manifest.quarantined, total, "No row broke.")
    if manifest.reviews:
        yield "## Checked by people\n\n" + _reviews(manifest.reviews)
    yield "## Models\n\n" + _table(
        ("role", "model and revision", "licence"),
        [(role, f"`{model}`", licence_of(model)) for role, model in manifest.backends.items()],
    )
    yield "## Examples\n\n" + (_examples(tally.examples()) or "No rows.")
    yield "## Columns\n\n" + _table(
        ("column", "type", "meaning"),
        [(f"`{f.name}`", f"`{f.type}`", {**MEANING, **layout.meanings}.get(f.name, "")) for f in schema],
    )
    yield "## Provenance\n\n" + _table(("", ""), [
        ("run", f"{manifest.name}/{manifest.version}"), ("status", manifest.status),
        ("fingerprint of the recipe", f"`{manifest.fingerprint}`"), ("digest of all rows", f"`{manifest.content_digest}`"),
        ("made with", f"negscale {manifest.code}"), ("shards", f"{manifest.shards:,}"),
    ])  # fmt: skip
    yield "Source:\n\n```yaml\n" + _source(manifest.inputs) + "```"
    yield (
        "## How to reproduce\n\n`recipe.yaml` beside this card holds every value that bears on the rows. Places do not: give "
        f"your own ({', '.join(f'`{p}`' for p in places) or 'none needed'}).\n\n"
        f"```\nnegscale generate {recipe} -c recipe.yaml\nnegscale audit RUN_FOLDER\n```\n\n"
        "The same recipe on the same input has the same fingerprint, and with models that answer alike each time the same "
        "digest."
    )
    yield "## Known limits\n\n" + "\n".join(f"- {limit}" for limit in (*_limits(finished, tally), *layout.notes))


def _limits(finished: FinishedRun, tally: Tally) -> Iterator[str]:
    manifest = finished.manifest
    present = manifest.rejected.get("verify_absent/object_present", 0)
    later = [
        count
        for key, count in manifest.rejected.items()
        if _comes_after(finished, key.partition("/")[0], "verify_absent")
    ]
    judged = present + manifest.rows_kept + sum(later)
    if present and judged:
        yield (
            f"The verifier found the proposed object in {present:,} of {judged:,} images that it judged "
            f"({_share(present, judged)}). So about {_share(judged - present, judged)} of the proposals would be absent without "
            f"any verifier: that base rate, not 0, is what its precision has to be compared with."
        )
    if manifest.reviews.get("judged"):
        yield (
            f"Absence is what the verifier said. People judged {manifest.reviews['judged']:,} of "
            f"{manifest.rows_kept:,} kept rows (see above); the others were seen by models only."
        )
    else:
        yield (
            "Absence is what the verifier said. Its precision on these images is unknown unless people have checked a "
            "sample; this run records no such check."
        )
    yield "Rows follow the source: its choice of images, its errors and its biases are in them."
    if tally.counts.get("negation_form"):
        yield "The mix of negation forms is that of the models, not that of natural text (see the table above)."
    if manifest.rows_quarantined:
        yield f"{manifest.rows_quarantined:,} rows broke and are missing; they need not be a random sample."
    if manifest.status == "over_budget":
        yield "More rows broke than the run's budget allows (`over_budget`): exported all the same, on demand."


def _comes_after(finished: FinishedRun, stage: str, other: str) -> bool:
    steps = finished.run.record()["identity"]["steps"]  # "0_propose_absent_object", ...
    number = {name.partition("_")[2]: int(name.partition("_")[0]) for name in steps}
    return stage in number and other in number and number[stage] > number[other]


def _recipe(finished: FinishedRun) -> tuple[str, Any, list[str]]:
    """(name, the config's values that bear identity, keys of places and machine settings that were left out)."""
    text = finished.run.config_yaml()
    config = yaml.safe_load(text)
    config.pop("runtime", None)
    places: list[str] = []
    values = _common(config, finished.manifest.recipe, "", places)
    name = text.partition("\n")[0].removeprefix("# recipe: ").strip()
    return name, values, places


def _common(config: Any, identity: Any, prefix: str, places: list[str]) -> Any:
    """The part of `config` that `identity` has as well: what is only in the identity are facts, not keys."""
    if isinstance(config, Mapping) and isinstance(identity, Mapping):
        kept = {}
        for key, value in config.items():
            if key in identity:
                kept[key] = _common(value, identity[key], f"{prefix}{key}.", places)
            elif value not in ("", None, [], {}):
                places.append(f"{prefix}{key}")
        return kept
    if isinstance(config, list) and isinstance(identity, list) and len(config) == len(identity):
        return [_common(c, i, f"{prefix}{n}.", places) for n, (c, i) in enumerate(zip(config, identity, strict=True))]
    return config


def _source(inputs: Mapping[str, Any]) -> str:
    text = yaml.safe_dump(dict(inputs), sort_keys=True, allow_unicode=True)
    if len(text) <= 4000:
        return text
    digest = blake2b(json.dumps(inputs, sort_keys=True).encode(), digest_size=8).hexdigest()
    small = {key: value for key, value in inputs.items() if len(json.dumps(value)) <= 200}
    left = sorted(inputs.keys() - small.keys())
    note = f"# {', '.join(left)}: too long to show; blake2b-64 of the whole as JSON: {digest}\n"
    return (yaml.safe_dump(small, sort_keys=True, allow_unicode=True) if small else "") + note


def _reasons(counts: Mapping[str, int], total: int, none: str) -> str:
    rows = [(f"`{key}`", f"{count:,}", _share(count, total)) for key, count in counts.items()]
    return _table(("stage/reason", "rows", "share"), rows) if rows else none


def _reviews(figures: Mapping[str, Any]) -> str:
    """Precision by people's answers: all rows, then each negation form; agreement of each two reviewers."""
    named = [("all rows", figures), *figures["forms"].items()]
    table = _table(
        ("", "judged", "right", "precision", "95 % interval", "cannot tell"),
        [
            (
                _cell(name), f"{f['judged']:,}", f"{f['right']:,}", _share(f["right"], f["judged"]),
                f"{f['low']:.1%} to {f['high']:.1%}" if f["judged"] else "-", f"{f['skipped']:,}",
            )
            for name, f in named
        ],
    )  # fmt: skip
    pairs = [f"{pair['agreed']:.1%} of {pair['rows']:,}" for pair in figures["agreement"]]
    agreed = f" Two reviewers agree on {' and '.join(pairs)} rows that both judged." if pairs else ""
    return (
        f"{table}\n\nReviewers: {len(figures['reviewers'])}. They looked at rows drawn uniformly from "
        f"{figures['population_rows']:,} kept rows; the interval is Wilson's, and a tied row counts as not right.{agreed}"
    )


def _examples(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    names = list(rows[0])
    return _table(names, [[_cell(row[name]) for name in names] for row in rows])


def _cell(value: Any) -> str:
    text = " ".join(str("" if value is None else value).split())
    text = text if len(text) <= 300 else text[:299] + "…"
    for sign in "\\`*_[]|~":  # text of the source must not become markup
        text = text.replace(sign, f"\\{sign}")
    return html.escape(text, quote=False)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _share(count: int, total: int) -> str:
    return f"{count / total:.1%}" if total else "-"
