from __future__ import annotations

from pathlib import Path

import pytest

from negscale.core.errors import ConfigError
from negscale.datasets.vqa import VqaConfig
from tests.unit.datasets.layouts import kinds
from tests.unit.datasets.question_layouts import answered, answers, caption, question, read_questions, write_vqa

IMAGES = [
    {"id": 7, "file_name": "COCO_val2014_000000000007.jpg", "height": 8, "width": 9},
    {"id": 8, "file_name": "8.jpg"},
]
CAPTIONS = [caption(1, 7, "a cat"), caption(2, 7, "a cat\n"), caption(3, 7, "two cats"), caption(4, 8, "a bus")]


def config(root: Path, **more: object) -> VqaConfig:
    return VqaConfig(root=str(root), split="val2014", **more)  # pyright: ignore[reportArgumentType]


def test_a_row_is_a_question_with_answers_and_captions(tmp_path: Path) -> None:
    asked = [question(70, 7), question(80, 8, "Is the bus\nred?"), question(71, 7, "Are there any dogs?")]
    notes = [
        answered(71, 7), answered(80, 8, answers=answers("no", 8, "maybe"), answer_type="other"),
        answered(70, 7, multiple_choice_answer="yes"),
    ]  # fmt: skip
    write_vqa(tmp_path, IMAGES, CAPTIONS, asked, notes)
    source = config(tmp_path, shard_rows=2).build()
    rows = read_questions(source)
    assert [row["id"] for row in rows] == ["70", "80", "71"]
    assert kinds(rows) == [None] * 3
    assert rows[0]["image"]["uri"] == "val2014/COCO_val2014_000000000007.jpg"
    assert rows[0]["image"]["width_px"] == 9
    assert rows[0]["image_captions"] == ["a cat", "two cats"]
    assert rows[0]["image_caption_ids"] == ["1", "3"]
    assert rows[0]["multiple_choice_answer"] == "yes"
    assert rows[1]["question"] == "Is the bus red?"
    assert rows[1]["answers"] == ["no"] * 8 + ["maybe"] * 2
    assert rows[1]["answer_confidences"] == ["yes"] * 10
    assert rows[1]["image_id"] == "000000000008"
    assert [shard.rows for shard in source.list().shards] == [2, 1]
    assert len(read_questions(config(tmp_path, limit_questions=1).build())) == 1


def test_bad_rows_are_quarantined_and_none_is_lost(tmp_path: Path) -> None:
    asked = [
        question(1, 7), question(1, 7), question(2, 7, ""), question(3, 7, 5), question(4, 7, "is " * 99),
        question(5, 9), question(6, 99), question(7, 7), question(8, 7), question(9, 7), "text", {"question": "Is it?"},
        question(10, 7, "lone \ud800"),
    ]  # fmt: skip
    notes = [
        *(answered(n, 7) for n in (1, 2, 3, 4)), answered(5, 9), answered(6, 99), answered(8, 8),
        answered(9, 7, answers=[]), answered(1, 7), {"question_id": 11}, answered(12, 7), answered(10, 7),
        answered(13, 7, answers=[{"answer": None, "answer_id": 1}]),
    ]  # fmt: skip
    images = [*IMAGES, {"id": 9, "file_name": "9.jpg"}, {"no": "id"}]
    write_vqa(tmp_path, images, [*CAPTIONS, caption(5, 9, "bell \x07"), caption(6, 55, "stray")], asked, notes)
    source = config(tmp_path).build()
    found = {row["id"]: row["quarantine"] and row["quarantine"]["kind"] for row in read_questions(source)}
    assert found == {
        "1": None, "1~2": "duplicate_id", "2": "empty_question", "3": "empty_question", "4": "question_too_long",
        "5": "missing_captions", "6": "missing_image_entry", "7": "missing_answers", "8": "schema", "9": "missing_answers",
        "question-000000010": "schema", "question-000000011": "schema", "10": "not_utf8", "answers-12": "missing_question",
        "annotation-000000007": "schema", "annotation-000000008": "schema", "annotation-000000009": "schema",
        "annotation-000000012": "schema",
    }  # fmt: skip
    assert source.list().identity["captions_left_out"] == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v2_mscoco_val2014_annotations.json", '{"annotations": [', "not JSON"),
        ("v2_mscoco_val2014_annotations.json", "[]", "no list 'annotations'"),
        ("v2_mscoco_val2014_annotations.json", '{"annotations": [{"caption": "a"}]}', "no 'answers'"),
        ("v2_OpenEnded_mscoco_val2014_questions.json", '{"images": []}', "questions"),
        ("v2_OpenEnded_mscoco_val2014_questions.json", "{", "not JSON"),
        ("annotations/captions_val2014.json", '{"images": []}', "annotations"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    write_vqa(tmp_path, IMAGES, CAPTIONS, [question(1, 7)], [answered(1, 7)])
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=message) as caught:
        config(tmp_path).build().list()
    assert name in str(caught.value)


def test_missing_files_say_which_key_and_where_to_get_them(tmp_path: Path) -> None:
    write_vqa(tmp_path, IMAGES, CAPTIONS, [question(1, 7)], [answered(1, 7)])
    (tmp_path / "v2_mscoco_val2014_annotations.json").unlink()
    with pytest.raises(ConfigError, match=r"source\.annotations.*v2_mscoco_val2014_annotations\.json.*visualqa"):
        config(tmp_path).build().list()


def test_content_bears_identity_and_the_folder_does_not(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_vqa(tmp_path / folder, IMAGES, CAPTIONS, [question(1, 7)], [answered(1, 7)])
    first, second = (config(tmp_path / folder) for folder in ("a", "b"))
    assert first.identity() == second.identity()
    assert dict(first.build().list().identity) == dict(second.build().list().identity)
    write_vqa(tmp_path / "b", IMAGES, CAPTIONS, [question(1, 7)], [answered(1, 7, answers=answers("no", 9))])
    assert dict(first.build().list().identity) != dict(second.build().list().identity)
