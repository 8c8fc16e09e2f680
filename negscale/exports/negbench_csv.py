"""The CSV files of NegBench (Alhamoud et al., arXiv 2501.09425; `m1k2zoo/negbench`): captions, questions, retrieval sets.

captions.csv    filepath, caption, extracted_objects, negative_objects, negative_captions
questions.csv   image_path, correct_answer, caption_0, ..., correct_answer_template
retrieval.csv   positive_objects, negative_objects, filepath, image_id, captions

Which one is written follows from the run's columns. Lists are Python literals, as in the released files (whose loaders
evaluate them; `ast.literal_eval` does as well). What differs: `correct_answer` is where the question's options put it (in
the released files it is always 0), and the objects of a caption are empty where the run does not know them.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from negscale.core.errors import PlanError
from negscale.core.schema import IMAGE
from negscale.exports.card import Layout, Tally, write_card
from negscale.exports.finished import ExportResult, open_finished
from negscale.exports.image_files import ImageFiles, ReadsBytes
from negscale.exports.parquet import flat_schema, flatten
from negscale.exports.publish import staged_folder
from negscale.storage.run_folder import RunFolder

Row = Mapping[str, Any]
_MEANING = {
    "filepath": "the image: relative to the source's root, or to this folder below images/",
    "image_path": "the image: relative to the source's root, or to this folder below images/",
    "extracted_objects": "objects that are in the image; empty where the run does not know any",
    "positive_objects": "objects that are in the image", "negative_objects": "objects that are not in the image",
    "negative_captions": "captions that state the absence", "correct_answer": "number of the right caption",
    "correct_answer_template": "kind of the right caption", "captions": "captions of the image",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the three files."""

    file: str
    needs: tuple[str, ...]  # columns, beside the image
    recognised_by: tuple[str, ...]  # columns that say which file a run is meant for
    lines: Callable[[Sequence[Row], Callable[[Row], str | None]], Iterator[dict[str, Any]]]


def parent_of(row_id: str) -> str:
    """The row from which a row was exploded: ``r#1`` is a child of ``r``; other rows are their own parents."""
    return row_id.rpartition("#")[0] or row_id


def _caption_lines(rows: Sequence[Row], path: Callable[[Row], str | None]) -> Iterator[dict[str, Any]]:
    """One line per source caption, with all that was written for it."""
    for _, family in groupby(rows, key=lambda row: parent_of(row["id"])):
        siblings = list(family)
        first = siblings[0]
        if (image := path(first)) is None:
            continue
        absent = [name for row in siblings for name in _absent(row)]
        present = first.get("positive_objects") or first.get("extracted_objects") or []  # verified ones where known
        yield {
            "filepath": image, "caption": first["caption"], "extracted_objects": present,
            "negative_objects": list(dict.fromkeys(absent)),
            "negative_captions": [row["negated_caption"] for row in siblings],
        }  # fmt: skip


def _absent(row: Row) -> list[str]:
    if (several := row.get("negative_objects")) is not None:
        return several
    return [row["absent_object"]] if row.get("absent_object") else []


def _question_lines(rows: Sequence[Row], path: Callable[[Row], str | None]) -> Iterator[dict[str, Any]]:
    for row in rows:
        options, answer = row["options"], row["answer"]
        if not options or answer is None or not 0 <= answer < len(options):
            raise PlanError(f"question {row['id']!r} has {len(options or [])} options and the answer {answer!r}")
        if (image := path(row)) is not None:
            captions = {f"caption_{k}": text for k, text in enumerate(options)}
            yield {
                "image_path": image, "correct_answer": answer, **captions, "correct_answer_template": row["question_type"]
            }  # fmt: skip


def _retrieval_lines(rows: Sequence[Row], path: Callable[[Row], str | None]) -> Iterator[dict[str, Any]]:
    for row in rows:
        if (image := path(row)) is not None:
            yield {
                "positive_objects": row["positive_objects"] or [], "negative_objects": row["negative_objects"] or [],
                "filepath": image, "image_id": row["image_id"], "captions": row["captions"] or [],
            }  # fmt: skip


KINDS = (
    Kind("questions.csv", ("options", "answer", "question_type"), ("options", "answer"), _question_lines),
    Kind(
        "retrieval.csv",
        ("image_id", "captions", "positive_objects", "negative_objects"),
        ("captions",),
        _retrieval_lines,
    ),
    Kind("captions.csv", ("caption", "negated_caption"), ("negated_caption",), _caption_lines),
)


def kind_of(schema: pa.Schema) -> Kind:
    """The file that a run with these columns is meant for. Raises PlanError naming what is missing."""
    names = set(schema.names)
    found = next((kind for kind in KINDS if names.issuperset(kind.recognised_by)), None)
    if found is None:
        wanted = "; ".join(f"{kind.file} needs {', '.join(kind.needs)}" for kind in KINDS)
        raise PlanError(f"the negbench-csv export finds no columns of its own: {wanted}; this run has {schema.names}")
    missing = sorted(set(found.needs) - names)
    if found.file == "captions.csv" and not names & {"absent_object", "negative_objects"}:
        missing.append("absent_object (or negative_objects)")
    if image_column(schema) is None:
        missing.append("image (or image_path)")
    if missing:
        raise PlanError(
            f"the negbench-csv export of {found.file} needs the columns {missing}; this run has {schema.names}"
        )
    return found


def image_column(schema: pa.Schema) -> str | None:
    """``image_path`` (text), else ``image`` (a reference); None when there is neither."""
    if "image_path" in schema.names and pa.types.is_string(schema.field("image_path").type):
        return "image_path"
    return "image" if "image" in schema.names and schema.field("image").type == IMAGE else None


def export_negbench_csv(
    run: RunFolder, out: str, reader: ReadsBytes | None = None, allow_over_budget: bool = False, license_id: str = ""
) -> ExportResult:
    """Write the kept rows to the folder `out` (a path or URI): one CSV, README.md, recipe.yaml.

    reader: gives the bytes of images that are no files of their own, which are copied to ``images/``. The result counts
    lines. Raises PlanError for runs that are unfinished, over their quarantine budget (unless allowed), without the
    columns, or whose questions differ in their number of options.
    """
    finished = open_finished(run, allow_over_budget)
    schema = finished.schema()
    kind, column = kind_of(schema), image_column(schema)
    flat, tally, count = flat_schema(schema), Tally(), 0
    with staged_folder(out) as folder:
        images = ImageFiles(folder, reader)

        def path(row: Row) -> str | None:
            return row["image_path"] if column == "image_path" else images.path(row)

        target = folder / kind.file
        header: list[str] = []
        with target.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            for table in finished.tables():
                tally.add(flatten(table, flat))
                for line in kind.lines(table.to_pylist(), path):
                    if not header:
                        header = list(line)
                        writer.writerow(header)
                    if list(line) != header:
                        raise PlanError(
                            f"a question has the columns {list(line)}, those before it {header}: export questions with "
                            f"the same number of options"
                        )
                    writer.writerow([_cell(value) for value in line.values()])
                    count += 1
            if not header:
                header = _empty_header(kind)
                writer.writerow(header)
        notes = [
            f"`{kind.file}` has {count:,} lines, in NegBench's columns; the counts above are of the run's rows.",
            *images.notes(),
        ]
        shown = pa.schema([(name, pa.string()) for name in header])
        write_card(folder, finished, shown, tally, license_id, _layout(kind, notes))
        size, files = _size(folder)
    return ExportResult(out, count, files, size)


def _cell(value: Any) -> Any:
    return repr(value) if isinstance(value, list) else value


def _empty_header(kind: Kind) -> list[str]:
    if kind.file == "questions.csv":
        return ["image_path", "correct_answer", *(f"caption_{k}" for k in range(4)), "correct_answer_template"]
    if kind.file == "retrieval.csv":
        return ["positive_objects", "negative_objects", "filepath", "image_id", "captions"]
    return ["filepath", "caption", "extracted_objects", "negative_objects", "negative_captions"]


def _layout(kind: Kind, notes: Sequence[str]) -> Layout:
    return Layout(
        data_files=kind.file, meanings=_MEANING, notes=notes,
        how_to_read=f'```python\nimport ast, pandas\nrows = pandas.read_csv("{kind.file}")  # lists: ast.literal_eval\n```',
        images="Images are referred to by path, relative to the source's root; those that begin with `images/` lie here.",
    )  # fmt: skip


def _size(folder: Path) -> tuple[int, int]:
    """(bytes, number) of the files of an export, its card left out."""
    paths = [p for p in folder.rglob("*") if p.is_file() and p.name not in ("README.md", "recipe.yaml")]
    return sum(path.stat().st_size for path in paths), len(paths)
