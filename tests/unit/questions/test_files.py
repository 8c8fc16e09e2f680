"""Question files: what is read, what is refused and why, and that what is written is what NegBench's readers read."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest

from negscale.core.errors import ConfigError
from negscale.questions.files import mcq_csv, parse_mcq_csv, parse_pairs_json, read_questions, write_mcq_csv
from negscale.questions.table import Questions

FOUR = (
    "image_path,correct_answer,caption_0,caption_1,caption_2,caption_3,correct_answer_template\n"
    'val/1.jpg,3,"This image features a knife, but no car.",A car.,No knife.,"A ""knife""",hybrid\n'
)


def test_released_columns_are_read() -> None:
    questions = parse_mcq_csv(FOUR, "four.csv")
    assert questions.images == ("val/1.jpg",)
    assert questions.options == (("This image features a knife, but no car.", "A car.", "No knife.", 'A "knife"'),)
    assert (questions.answers, questions.types, questions.groups) == ((3,), ("hybrid",), None)


def test_two_captions_and_groups_are_read() -> None:
    text = "image_path,correct_answer,caption_0,caption_1,group\na,1,x,y,g1\nb,0.0,x,y,g1\n"
    questions = parse_mcq_csv(text, "two.csv")
    assert questions.chance == 0.5
    assert questions.answers == (1, 0)
    assert questions.groups == ("g1", "g1")
    assert questions.types == ("", "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("correct_answer,caption_0,caption_1\n0,x,y\n", "no column 'image_path'; it holds correct_answer"),
        ("", "no column 'image_path'; it holds nothing"),
        ("image_path,correct_answer,caption_0,caption_1\na,2,x,y\n", r"line 2: correct_answer is '2'; expected 0\.\.1"),
        ("image_path,correct_answer,caption_0,caption_1\na,-1,x,y\n", "correct_answer is '-1'"),
        ("image_path,correct_answer,caption_0,caption_1\na,,x,y\n", "correct_answer is ''"),
        ("image_path,correct_answer,caption_0,caption_1\na,0,x, \n", "line 2: caption_1 is empty"),
        ("image_path,correct_answer,caption_0,caption_1\na,0,x,y,z\n", "line 2: 5 cells, expected 4"),
        ("image_path,correct_answer,caption_0,caption_1,caption_3\na,0,x,y,z\n", "leave a gap"),
        ("image_path,correct_answer,caption_0,caption_1\n", "a header and no questions"),
    ],
)
def test_bad_csv_is_refused_with_the_place(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_mcq_csv(text, "bad.csv")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    latin = tmp_path / "latin.csv"
    latin.write_bytes("image_path\ncaf\u00e9\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8: byte 0xe9 at 14"):
        read_questions(str(latin))
    with pytest.raises(ConfigError, match="there is no file"):
        read_questions(str(tmp_path / "none.csv"))


def test_valse_and_sugarcrepe_put_the_right_caption_first() -> None:
    valse = {
        "a": {
            "image_file": "1.jpg", "caption": "There are no dogs.", "foil": "There are dogs.",
            "mturk": {"caption": 3}, "linguistic_phenomena": "existence",
        },
        "b": {"image_file": "2.jpg", "caption": "Cats.", "foil": "No cats.", "mturk": {"caption": 1}},
    }  # fmt: skip
    both = parse_pairs_json(json.dumps(valse), "valse")
    assert both.options == (("There are no dogs.", "There are dogs."), ("Cats.", "No cats."))
    assert both.types == ("existence", "")
    assert len(parse_pairs_json(json.dumps(valse), "valse", validated=True)) == 1
    crepe = {"0": {"filename": "1.jpg", "caption": "A cat.", "negative_caption": "A dog."}}
    assert parse_pairs_json(json.dumps(crepe), "crepe").options == (("A cat.", "A dog."),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"phrase": "x", "bbox_list": []}]', r"no captions to choose from.*\['bbox_list', 'phrase'\]"),
        ("[", "not JSON"),
        ("[]", "expected a list or an object of items"),
        ('{"a": {"caption": "", "foil": "x", "image_file": "y"}}', "item 0 has no text in 'caption'"),
    ],
)
def test_bad_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_pairs_json(text, "bad.json")


def test_written_csv_reads_back_with_csv_and_pandas(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    questions = Questions(
        "made", ("a,b.jpg", "c.jpg"), (('He said "no", twice', "two\nlines"), ("caf\u00e9", "x")), (1, 0), ("hybrid", ""),
        ("g", "h"),
    )  # fmt: skip
    path = tmp_path / "out.csv"
    write_mcq_csv(questions, str(path))
    header = ["image_path", "correct_answer", "caption_0", "caption_1", "correct_answer_template"]
    assert next(csv.reader(io.StringIO(path.read_text()))) == header
    frame = pandas.read_csv(path, keep_default_na=False)
    assert list(frame.columns) == header
    assert frame["correct_answer"].tolist() == [1, 0]
    assert frame["caption_0"].tolist() == ['He said "no", twice', "caf\u00e9"]
    back = read_questions(str(path))
    assert (back.options, back.answers, back.images, back.groups) == (
        questions.options, questions.answers, questions.images, None,
    )  # fmt: skip
    assert parse_mcq_csv(mcq_csv(questions, group_column=True).decode(), "x").groups == ("g", "h")


def test_one_csv_has_one_number_of_options() -> None:
    ragged = Questions("ragged", ("a", "b"), (("x", "y"), ("x", "y", "z")), (0, 0), ("", ""))
    with pytest.raises(ConfigError, match=r"one number of options, got \[2, 3\]"):
        mcq_csv(ragged)
