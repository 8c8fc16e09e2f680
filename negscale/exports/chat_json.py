"""Conversations for tuning a vision-language chat model on negation, in LLaVA's or ShareGPT's layout.

Rows with an absent object give two yes/no questions, one answered yes and one answered no. Where the row knows an object
that is in the image, the pair asks of both objects, both times plainly or both times with a negation (drawn per row), so
that neither the polarity of the question nor the object alone tells the answer. Where it knows none, the pair asks of the
absent object plainly (no) and with a negation (yes). Rows with options give a multiple-choice question; the options stay in
the order in which the run shuffled them.

LLaVA:     {"id", "image", "conversations": [{"from": "human", "value"}, {"from": "gpt", "value"}]}
ShareGPT:  {"id", "images": [...], "messages": [{"role": "user", "content"}, {"role": "assistant", "content"}]}
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import pyarrow as pa

from negscale.core.errors import ConfigError, PlanError
from negscale.core.rng import rng_for
from negscale.exports.card import Layout, Tally, write_card
from negscale.exports.finished import ExportResult, open_finished
from negscale.exports.image_files import ImageFiles, ReadsBytes
from negscale.exports.negbench_csv import image_column
from negscale.exports.parquet import flat_schema, flatten
from negscale.exports.publish import staged_folder
from negscale.language.nouns import indefinite, is_plural, is_uncountable, singular
from negscale.storage.run_folder import RunFolder

ChatFormat = Literal["llava", "sharegpt"]
SHORT = "Answer with yes or no."
LETTER = "Answer with the option's letter from the given choices directly."
WHICH = "Which of these statements is true of this image?"
_IMAGE_TOKEN = "<image>"
_FILE = "data/train.json"
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_SCHEMAS = {
    "llava": pa.schema([("id", pa.string()), ("image", pa.string()), ("conversations", pa.list_(pa.string()))]),
    "sharegpt": pa.schema(
        [("id", pa.string()), ("images", pa.list_(pa.string())), ("messages", pa.list_(pa.string()))]
    ),
}
_MEANING = {
    "id": "id of the row and number of its question", "image": "path of the image", "images": "path of the image",
    "conversations": "the question and its answer", "messages": "the question and its answer",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question about one image and its answer."""

    question: str
    answer: str


def export_chat_json(
    run: RunFolder, out: str, reader: ReadsBytes | None = None, chat_format: str = "llava",
    allow_over_budget: bool = False, license_id: str = "",
) -> ExportResult:  # fmt: skip
    """Write the kept rows to the folder `out` (a path or URI): data/train.json (one array), README.md, recipe.yaml.

    reader: gives the bytes of images that are no files of their own, which are copied to ``images/``. The result counts
    conversations. Raises ConfigError for an unknown format, PlanError for runs that are unfinished, over their quarantine
    budget (unless allowed), or without the columns.
    """
    if chat_format not in get_args(ChatFormat):
        raise ConfigError(f"chat format {chat_format!r} is unknown; known: {', '.join(get_args(ChatFormat))}")
    finished = open_finished(run, allow_over_budget)
    schema = finished.schema()
    _check(schema)
    flat, tally, asker = flat_schema(schema), Tally(), Asker()
    count = 0
    with staged_folder(out) as folder:
        images = ImageFiles(folder, reader)
        target = folder / _FILE
        target.parent.mkdir()
        with target.open("w", encoding="utf-8") as file:
            file.write("[")
            for table in finished.tables():
                tally.add(flatten(table, flat))
                for row in table.to_pylist():
                    path = row["image_path"] if image_column(schema) == "image_path" else images.path(row)
                    for number, exchange in enumerate(asker.ask(row, path) if path is not None else ()):
                        record = _record(chat_format, f"{row['id']}-{number}", path, exchange)
                        file.write((",\n" if count else "\n") + json.dumps(record))
                        count += 1
            file.write("\n]\n")
        shown = ", ".join(f"{n:,} {answer}" for answer, n in sorted(asker.answers.items())) or "none"
        layout = Layout(
            data_files=_FILE, meanings=_MEANING, notes=(
                f"`{_FILE}` holds {count:,} conversations in the {chat_format} layout; answers: {shown}.",
                *asker.notes(), *images.notes(),
            ),
            images="Images are referred to by path, relative to the source's root; those that begin with `images/` lie here.",
        )  # fmt: skip
        write_card(folder, finished, _SCHEMAS[chat_format], tally, license_id, layout)
        size = sum(
            path.stat().st_size for path in folder.rglob("*") if path.suffix not in (".md", ".yaml") and path.is_file()
        )
    return ExportResult(out, count, 1, size)


def _check(schema: pa.Schema) -> None:
    names = set(schema.names)
    known = {"options", "answer"} <= names or names & {"absent_object", "negative_objects"}
    if not known or image_column(schema) is None:
        raise PlanError(
            f"the chat-json export needs an image (image or image_path), and options with answer or else absent_object or "
            f"negative_objects; this run has {schema.names}"
        )


def _record(chat_format: str, key: str, path: str | None, exchange: Exchange) -> dict[str, Any]:
    if chat_format == "llava":
        said = (("human", f"{_IMAGE_TOKEN}\n{exchange.question}"), ("gpt", exchange.answer))
        return {"id": key, "image": path, "conversations": [{"from": who, "value": text} for who, text in said]}
    said = (("user", f"{_IMAGE_TOKEN}{exchange.question}"), ("assistant", exchange.answer))
    return {"id": key, "images": [path], "messages": [{"role": who, "content": text} for who, text in said]}


@dataclass(slots=True)
class Asker:
    """Makes the questions of each row. Rows of one image follow each other; an absent object is asked of once an image."""

    answers: Counter[str] = field(default_factory=Counter)
    repeated: int = 0  # rows whose absent objects were asked of before
    without_present: int = 0  # rows that know no object of the image
    _image: str = ""
    _asked: set[str] = field(default_factory=set)

    def ask(self, row: Mapping[str, Any], path: str) -> list[Exchange]:
        """The questions of a row; empty when they would repeat those of a row before. Raises PlanError for a bad answer."""
        if row.get("options") is not None:
            found = [multiple_choice(row["id"], row["options"], row["answer"])]
        else:
            found = self._yes_no(row, path)
        self.answers.update(exchange.answer for exchange in found)
        return found

    def _yes_no(self, row: Mapping[str, Any], path: str) -> list[Exchange]:
        if path != self._image:
            self._image, self._asked = path, set()
        several = row.get("negative_objects")
        absent = several if several is not None else [row["absent_object"]] if row.get("absent_object") else []
        fresh = [name for name in absent if name.casefold() not in self._asked]
        if not fresh:
            self.repeated += 1
            return []
        rng = rng_for(0, "chat-json", row["id"])
        denied = fresh[int(rng.integers(len(fresh)))]
        self._asked.add(denied.casefold())
        gone = {name.casefold() for name in absent}
        there = [name for name in row.get("positive_objects") or [] if name.casefold() not in gone]
        if not there:
            self.without_present += 1
            return [Exchange(plainly(denied), "No"), Exchange(negated(denied), "Yes")]
        seen = there[int(rng.integers(len(there)))]
        if rng.integers(2):
            return [Exchange(negated(denied), "Yes"), Exchange(negated(seen), "No")]
        return [Exchange(plainly(denied), "No"), Exchange(plainly(seen), "Yes")]

    def notes(self) -> Sequence[str]:
        """For the card."""
        notes = []
        if self.without_present:
            notes.append(
                f"{self.without_present:,} rows know no object that is in the image: their plain question is always answered "
                f"no and their negated one always yes. Mix in questions about present objects from elsewhere."
            )
        if self.repeated:
            notes.append(
                f"{self.repeated:,} rows ask nothing: their object was asked of with another caption of the image."
            )
        return notes


def plainly(name: str) -> str:
    """ "Is there a dog in this image? Answer with yes or no." """
    return f"{_is_there(_text(name))} in this image? {SHORT}"


def negated(name: str) -> str:
    """ "Is it true that there is no dog in this image? Answer with yes or no." """
    name = _text(name)
    verb = "are" if _many(name) else "is"
    return f"Is it true that there {verb} no {name} in this image? {SHORT}"


def _is_there(name: str) -> str:
    if is_uncountable(name):
        return f"Is there any {name}"
    one = indefinite(name)
    return f"Are there any {name}" if _many(name) and not one.startswith("a pair of ") else f"Is there {one}"


def _many(name: str) -> bool:
    return not is_uncountable(name) and (is_plural(name) or singular(name) != name.lower())


def multiple_choice(row_id: str, options: Sequence[str], answer: int | None) -> Exchange:
    """The question with lettered options; the answer is a letter. Raises PlanError when there is no such option."""
    if answer is None or not 0 <= answer < len(options) <= len(_LETTERS):
        raise PlanError(f"question {row_id!r} has {len(options)} options and the answer {answer!r}")
    lines = (f"{letter}. {_text(option)}" for letter, option in zip(_LETTERS, options, strict=False))
    return Exchange("\n".join([WHICH, *lines, LETTER]), _LETTERS[answer])


def _text(text: str) -> str:
    """`text` on one line and without the token that stands for an image: a caption must not add a second one."""
    return " ".join(text.replace(_IMAGE_TOKEN, "(image)").split())
