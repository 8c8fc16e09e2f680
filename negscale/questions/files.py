"""Question files: NegBench's MCQ CSV in and out, VALSE and SugarCrepe JSON in.

Formats as released (arXiv 2501.09425, 2112.07566, 2306.14610). NegBench's loader stops at the first row that does not
fit and names neither row nor column; here each refusal names the file, the line and what was expected.
"""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

from negscale.core.errors import ConfigError
from negscale.questions.table import Questions
from negscale.storage.folder import open_folder

_CAPTION = re.compile(r"caption_(\d+)")
TYPE_COLUMN = "correct_answer_template"
GROUP_COLUMN = "group"
VALSE_VALIDATED_BY = 2  # of three annotators; VALSE's own rule


def read_questions(path: str) -> Questions:
    """Questions of a file, its format known by its content. Raises ConfigError for files without caption choices."""
    text = _read(path)
    if path.lower().endswith(".csv"):
        return parse_mcq_csv(text, path)
    return parse_pairs_json(text, path)


def parse_mcq_csv(text: str, name: str) -> Questions:
    """NegBench's MCQ CSV with two or more captions, and a `group` column where there is one."""
    rows = csv.reader(io.StringIO(text, newline=""))
    header = next(rows, [])
    place = {column: at for at, column in enumerate(header)}
    captions = sorted(int(found[1]) for column in header if (found := _CAPTION.fullmatch(column)))
    for column in ("image_path", "correct_answer", "caption_0", "caption_1"):
        if column not in place:
            raise ConfigError(f"{name}: no column {column!r}; it holds {', '.join(header) or 'nothing'}")
    if captions != list(range(len(captions))):
        raise ConfigError(f"{name}: caption columns {captions} leave a gap; expected caption_0 .. caption_N")
    options_at = [place[f"caption_{number}"] for number in captions]
    images, options, answers, types, groups = [], [], [], [], []
    for row in rows:
        if not row:
            continue
        where = f"{name}, line {rows.line_num}"
        if len(row) != len(header):
            raise ConfigError(f"{where}: {len(row)} cells, expected {len(header)}: is a comma in a caption unquoted?")
        images.append(row[place["image_path"]])
        options.append(tuple(row[at].strip() for at in options_at))
        answers.append(_answer(row[place["correct_answer"]], len(options_at), where))
        types.append(row[place[TYPE_COLUMN]] if TYPE_COLUMN in place else "")
        groups.append(row[place[GROUP_COLUMN]] if GROUP_COLUMN in place else "")
        if not all(options[-1]):
            raise ConfigError(f"{where}: caption_{options[-1].index('')} is empty")
    if not images:
        raise ConfigError(f"{name}: a header and no questions")
    grouped = tuple(groups) if GROUP_COLUMN in place else None
    return Questions(name, tuple(images), tuple(options), tuple(answers), tuple(types), grouped)


def parse_pairs_json(text: str, name: str, *, validated: bool = False) -> Questions:
    """VALSE (`caption`, `foil`) or SugarCrepe (`caption`, `negative_caption`): the right option first of two.

    validated: of VALSE, only items that two of three annotators confirmed (505 of existence's 534); NegationCLIP's table
    counts all of them.
    """
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{name}: not JSON: {error}") from None
    items: list[Any] = list(content.values()) if isinstance(content, dict) else content
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise ConfigError(f"{name}: expected a list or an object of items, got {str(content)[:80]!r}")
    if validated and "foil" in items[0]:
        items = [item for item in items if item.get("mturk", {}).get("caption", 0) >= VALSE_VALIDATED_BY]
    other, image = next(
        (keys for keys in (("foil", "image_file"), ("negative_caption", "filename")) if keys[0] in items[0]), ("", "")
    )
    if not other:
        raise ConfigError(
            f"{name}: no captions to choose from: expected 'caption' with 'foil' (VALSE) or 'negative_caption' "
            f"(SugarCrepe), the first item holds {sorted(items[0])}"
        )
    for number, item in enumerate(items):
        if bad := [k for k in ("caption", other, image) if not isinstance(item.get(k), str) or not item[k].strip()]:
            raise ConfigError(f"{name}: item {number} has no text in {bad[0]!r}: {str(item)[:120]}")
    return Questions(
        name,
        tuple(item[image] for item in items),
        tuple((item["caption"].strip(), item[other].strip()) for item in items),
        (0,) * len(items),
        tuple(str(item.get("linguistic_phenomena", "")) for item in items),
    )


def mcq_csv(questions: Questions, *, group_column: bool = False) -> bytes:
    """The questions as NegBench's released CSV: the same columns in the same order, plus `group` on demand.

    Raises ConfigError when the questions differ in their number of options.
    """
    sizes = sorted(set(questions.sizes.tolist()))
    if len(sizes) > 1:
        raise ConfigError(f"{questions.name}: one CSV holds one number of options, got {sizes}")
    if group_column and questions.groups is None:
        raise ConfigError(f"{questions.name}: a group column was asked for, but the questions have no groups")
    captions = [f"caption_{number}" for number in range(sizes[0])]
    header = ["image_path", "correct_answer", *captions, TYPE_COLUMN, *([GROUP_COLUMN] if group_column else [])]
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for at, options in enumerate(questions.options):
        group = [questions.groups[at]] if group_column and questions.groups is not None else []
        writer.writerow([questions.images[at], questions.answers[at], *options, questions.types[at], *group])
    return text.getvalue().encode()


def write_mcq_csv(questions: Questions, path: str, *, group_column: bool = False) -> None:
    """Write `mcq_csv` to a path or URI; the file appears whole or not at all."""
    folder, _, file = path.rpartition("/")
    open_folder(folder or ".").write(file, mcq_csv(questions, group_column=group_column))


def _answer(cell: str, options: int, where: str) -> int:
    value = cell.strip().removesuffix(".0")  # pandas writes whole numbers like this once a cell is empty
    if not value.isdecimal() or int(value) >= options:
        raise ConfigError(f"{where}: correct_answer is {cell!r}; expected 0..{options - 1}")
    return int(value)


def _read(path: str) -> str:
    folder, _, file = path.rpartition("/")
    try:
        data = open_folder(folder or ("/" if path.startswith("/") else ".")).read(file)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise ConfigError(f"there is no file {path}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{path}: not UTF-8: byte {data[error.start]:#04x} at {error.start}; save it as UTF-8 and try again"
        ) from None
