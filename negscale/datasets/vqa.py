"""VQA v2 (Goyal et al., arXiv 1612.00837): one row per question, with its ten answers and its image's COCO captions.

The input of NegationCLIP's P2 (arXiv 2501.10913, section 3.1), which pairs questions answered "no" with a caption of the
image. Every question is a row, whatever its answer: a stage that refuses some says how many and why. A question without
answers, captions or image entry is quarantined; answers to no question are rows of their own.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from negscale.core.config import Config, Location, Locations
from negscale.core.errors import ConfigError
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import QUESTION
from negscale.datasets.captions import MAX_CAPTION_WORDS, clean_caption, fault, image_ref
from negscale.datasets.coco import parse_coco
from negscale.datasets.images import ImageReader
from negscale.datasets.indexed import indexed_listing, read_config_file, slice_of_index
from negscale.datasets.question_rows import MAX_QUESTION_WORDS, QuestionRows, clean_question
from negscale.storage.folder import open_folder

_LABELS = ("question_type", "answer_type")


class VqaConfig(Config):
    """VQA v2's questions and annotations beside COCO's captions and images."""

    kind: Literal["vqa"] = "vqa"
    root: Location
    """Folder or URI that holds the files below."""
    split: str = "train2014"
    """Names the files and the image folder."""
    questions: Location = ""
    """Questions file instead of v2_OpenEnded_mscoco_{split}_questions.json; relative to root, or absolute."""
    annotations: Location = ""
    """Answers file instead of v2_mscoco_{split}_annotations.json."""
    captions: Location = ""
    """COCO captions file instead of annotations/captions_{split}.json."""
    image_folder: Location = ""
    """Image folder below root instead of {split}."""
    image_roots: Locations = ()
    """Further folders in which absolute file names may lie."""
    limit_questions: int | None = Field(default=None, ge=1)
    """Only the first so many questions."""
    max_question_words: int = Field(default=MAX_QUESTION_WORDS, ge=1)
    """Longer questions are quarantined."""
    max_caption_words: int = Field(default=MAX_CAPTION_WORDS, ge=1)
    """Longer captions are left out of their image's."""
    shard_rows: int = Field(default=512, ge=1)
    """Questions in a unit of work."""

    def build(self) -> VqaSource:
        """The source."""
        return VqaSource(self)

    def reader(self) -> ImageReader:
        """Reads the images that the rows refer to."""
        return ImageReader(self.root, self.image_roots)


@dataclass(slots=True)
class _Picture:
    ref: dict[str, Any] | None
    captions: list[str]
    caption_ids: list[str]


class VqaSource:
    """Rows "262148000": VQA's question id."""

    schema = QUESTION

    def __init__(self, config: VqaConfig) -> None:
        self.config = config

    def list(self) -> Listing:
        """Parses the three files once; the rows are the index. Raises ConfigError naming the file at fault."""
        config = self.config
        folder = open_folder(config.root)
        split = config.split
        paths = {
            "questions": config.questions or f"v2_OpenEnded_mscoco_{split}_questions.json",
            "annotations": config.annotations or f"v2_mscoco_{split}_annotations.json",
            "captions": config.captions or f"annotations/captions_{split}.json",
        }
        hint = "; VQA v2's files are at visualqa.org, COCO's captions at cocodataset.org"
        hashes: dict[str, str] = {}

        def read(name: str) -> bytes:
            data = read_config_file(folder, paths[name], f"source.{name}", hint)
            hashes[f"{name}_sha256"] = sha256(data).hexdigest()
            return data

        pictures, left_out = _pictures(parse_coco(read("captions"), paths["captions"]), config)
        answers, strays = _answers(read("annotations"), paths["annotations"])
        asked = parse_coco(read("questions"), paths["questions"], ("questions",))["questions"]
        rows = _rows(asked, answers, strays, pictures, config)
        identity = {**hashes, "split": split, "captions_left_out": left_out}
        return indexed_listing(f"vqa-{split}", rows, config.shard_rows, identity)

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The shard's slice of the index."""
        return slice_of_index(shard, index)


def _pictures(content: Mapping[str, Any], config: VqaConfig) -> tuple[dict[str, _Picture], int]:
    """(image name -> reference and captions, number of captions that cannot be used)."""
    pictures: dict[str, _Picture] = {}
    for entry in content["images"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("id"), (int, str)):
            continue
        ref, file_name = None, entry.get("file_name")
        if isinstance(file_name, str) and file_name:
            uri = f"{config.image_folder.strip('/') or config.split}/{file_name}"
            ref = image_ref(uri, height_px=_size(entry.get("height")), width_px=_size(entry.get("width")))
        pictures.setdefault(_name(entry["id"]), _Picture(ref, [], []))
    left_out = 0
    for note in content["annotations"]:
        usable = isinstance(note, dict) and isinstance(note.get("caption"), str) and "id" in note
        text, problem = clean_caption(note["caption"], config.max_caption_words) if usable else ("", None)
        picture = pictures.get(_name(note.get("image_id"))) if usable else None
        if not text or problem or picture is None:
            left_out += 1
        elif text not in picture.captions:  # annotators repeat each other; once is enough
            picture.captions.append(text)
            picture.caption_ids.append(str(note["id"]))
    return pictures, left_out


@dataclass(slots=True)
class _Answered:
    image: str
    question_type: str
    answer_type: str
    choice: str
    votes: tuple[tuple[str, str], ...]


def _vote(found: dict[str, Any]) -> Any:
    """An annotator's answer as a pair of shared strings: VQA v2 has 4.4 million of them."""
    answer, sure = found.get("answer"), found.get("answer_confidence", "")
    if "answer_id" in found and isinstance(answer, str) and isinstance(sure, str):
        return sys.intern(answer), sys.intern(sure)
    return found


def _answers(data: bytes, name: str) -> tuple[dict[str, _Answered], list[tuple[int, Any]]]:
    """(question id -> answers, entries that cannot be used or whose question had answers before)."""
    try:
        content = json.loads(data.decode("utf-8-sig", "surrogateescape"), strict=False, object_hook=_vote)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{name}: not JSON: {error}; {len(data)} bytes, cut off while downloading?") from None
    notes = content.get("annotations") if isinstance(content, dict) else None
    if not isinstance(notes, list):
        keys = sorted(content) if isinstance(content, dict) else type(content).__name__
        raise ConfigError(f"{name}: no list 'annotations', so not VQA's answers; it holds {keys}")
    if notes and not any(isinstance(note, dict) and "answers" in note for note in notes):
        first = sorted(notes[0]) if isinstance(notes[0], dict) else notes[0]
        raise ConfigError(f"{name}: the annotations have no 'answers' (the first holds {first}): is this VQA's file?")
    answers: dict[str, _Answered] = {}
    strays: list[tuple[int, Any]] = []
    for number, note in enumerate(notes):
        found = _answered(note)
        if found is None or str(note["question_id"]) in answers:
            strays.append((number, note))
        else:
            answers[str(note["question_id"])] = found
    return answers, strays


def _answered(note: Any) -> _Answered | None:
    if not isinstance(note, dict) or not isinstance(note.get("question_id"), (int, str)):
        return None
    votes, choice = note.get("answers"), note.get("multiple_choice_answer")
    if not isinstance(votes, list) or not votes or not all(isinstance(vote, tuple) for vote in votes):
        return None
    if not isinstance(choice, str):
        return None
    labels = [sys.intern(text) if isinstance(text := note.get(key), str) else "" for key in _LABELS]
    return _Answered(_name(note.get("image_id")), labels[0], labels[1], choice, tuple(votes))


def _rows(
    asked: list[Any],
    answers: dict[str, _Answered],
    strays: list[tuple[int, Any]],
    pictures: Mapping[str, _Picture],
    config: VqaConfig,
) -> pa.Table:
    rows = QuestionRows()
    stray_ids = {str(note.get("question_id")) for _, note in strays if isinstance(note, dict)}
    answered: set[str] = set()
    for number, entry in enumerate(asked[: config.limit_questions]):
        if not isinstance(entry, dict) or not isinstance(entry.get("question_id"), (int, str)):
            problem = fault(
                "schema", f"question number {number} needs 'question_id', 'image_id' and 'question': {entry!s:.200}"
            )
            rows.add(f"question-{number:09d}", broken=problem)
            continue
        question_id = str(entry["question_id"])
        answered.add(question_id)
        _add(rows, entry, question_id, answers.get(question_id), question_id in stray_ids, pictures, config)
    if config.limit_questions is None:
        for question_id in [key for key in answers if key not in answered]:
            problem = fault(
                "missing_question", f"question_id {question_id} has answers, but is not in the questions file"
            )
            rows.add(f"answers-{question_id}", question_id=question_id, broken=problem)
        for number, note in strays:
            problem = fault(
                "schema",
                f"annotation number {number} repeats a question_id, or lacks 'question_id', 'multiple_choice_answer' or "
                f"'answers': {str(note)[:200]}",
            )
            rows.add(f"annotation-{number:09d}", broken=problem)
    return rows.table()


def _add(
    rows: QuestionRows,
    entry: Mapping[str, Any],
    question_id: str,
    found: _Answered | None,
    stray: bool,
    pictures: Mapping[str, _Picture],
    config: VqaConfig,
) -> None:
    image_id = _name(entry.get("image_id"))
    picture = pictures.get(image_id)
    text, problem = clean_question(entry.get("question"), config.max_question_words)
    if found is None:
        why = "its entry in the annotations file cannot be used" if stray else "it is not in the annotations file"
        problem = problem or fault("missing_answers", f"question {question_id} has no answers: {why}")
    elif found.image != image_id:
        problem = problem or fault(
            "schema", f"question {question_id} is about image {image_id}, its answers about image {found.image}"
        )
    if picture is None or picture.ref is None:
        problem = problem or fault("missing_image_entry", f"image {image_id} is not in the captions file's 'images'")
    elif not picture.captions:
        problem = problem or fault("missing_captions", f"image {image_id} has no caption that can be used")
    rows.add(
        question_id, image=picture and picture.ref, image_id=image_id, question=text, question_id=question_id,
        captions=picture.captions if picture else (), caption_ids=picture.caption_ids if picture else (),
        question_type=found.question_type if found else "", answer_type=found.answer_type if found else "",
        multiple_choice_answer=found.choice if found else "", answers=found.votes if found else (), broken=problem,
    )  # fmt: skip


def _name(image_id: Any) -> str:
    return f"{image_id:012d}" if isinstance(image_id, int) else str(image_id)


def _size(value: Any) -> int | None:
    return value if isinstance(value, int) and 0 < value < 2**31 else None
