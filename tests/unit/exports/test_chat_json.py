"""The chat-json export: both layouts, balanced answers that match the row, no second image token."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from negscale.core.errors import ConfigError, PlanError
from negscale.exports.chat_json import Asker, export_chat_json, multiple_choice, negated, plainly
from negscale.storage.run_folder import RunFolder
from tests.unit.exports.folders import SCHEMA, make_run, row
from tests.unit.exports.pictures import QUESTIONS, SEVERAL, question, several


def _records(run: RunFolder, out: Path, **options: Any) -> list[dict[str, Any]]:
    result = export_chat_json(run, str(out), **options)
    records = json.loads((out / "data/train.json").read_text())
    assert len(records) == result.rows
    assert len({record["id"] for record in records}) == len(records)
    return records


def _turns(record: dict[str, Any]) -> tuple[str, str, str]:
    """(image, question, answer) of a LLaVA record."""
    human, gpt = record["conversations"]
    assert (human["from"], gpt["from"]) == ("human", "gpt")
    assert human["value"].startswith("<image>\n")
    return record["image"], human["value"].removeprefix("<image>\n"), gpt["value"]


def test_p1_rows_ask_plainly_and_with_a_negation(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [[row("a", "1", "1"), row("b", "2", "1", absent_object="scissors")]])
    records = _records(run, tmp_path / "out")
    assert [_turns(record) for record in records] == [
        ("val2017/1.jpg", "Is there a cat in this image? Answer with yes or no.", "No"),
        ("val2017/1.jpg", "Is it true that there is no cat in this image? Answer with yes or no.", "Yes"),
        ("val2017/2.jpg", "Is there a pair of scissors in this image? Answer with yes or no.", "No"),
        ("val2017/2.jpg", "Is it true that there are no scissors in this image? Answer with yes or no.", "Yes"),
    ]
    card = (tmp_path / "out/README.md").read_text()
    assert "answers: 2 No, 2 Yes" in card
    assert "2 rows know no object that is in the image" in card


def test_an_absent_object_is_asked_of_once_an_image(tmp_path: Path) -> None:
    rows = [row("a-0", "1", "1"), row("a-1", "1", "2"), row("a-2", "1", "3", absent_object="kite"), row("b", "2", "1")]
    records = _records(make_run(tmp_path / "run", [rows]), tmp_path / "out")
    assert Counter(record["id"].rpartition("-")[0] for record in records) == {"a-0": 2, "a-2": 2, "b": 2}
    assert "1 rows ask nothing" in (tmp_path / "out/README.md").read_text()


def test_neither_polarity_nor_form_tells_the_answer_where_present_objects_are_known(tmp_path: Path) -> None:
    rows = [several(f"r{n:04d}", "no cat", negative_objects=["cat"], positive_objects=["dog"]) for n in range(400)]
    seen: Counter[tuple[str, str, str]] = Counter()
    for record in _records(make_run(tmp_path / "run", [rows], SEVERAL), tmp_path / "out"):
        _, asked, answer = _turns(record)
        form = "negated" if "is no " in asked else "plain"
        seen[form, "cat" if "cat" in asked else "dog", answer] += 1
    truth = {("plain", "cat"): "No", ("plain", "dog"): "Yes", ("negated", "cat"): "Yes", ("negated", "dog"): "No"}
    assert {(form, name): answer for form, name, answer in seen} == truth
    assert sum(seen.values()) == 800
    assert all(140 < count < 260 for count in seen.values()), seen  # 200 each; 10 is one standard deviation


def test_objects_named_on_both_sides_are_not_called_present() -> None:
    asker = Asker()
    found = asker.ask({"id": "a", "positive_objects": ["Cat"], "negative_objects": ["cat"]}, "x.jpg")
    assert [exchange.answer for exchange in found] == ["No", "Yes"]
    assert all("cat" in exchange.question for exchange in found)
    assert asker.ask({"id": "b", "positive_objects": [], "negative_objects": []}, "x.jpg") == []


def test_sharegpt_says_the_same(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [[row("a", "1", "1")]])
    llava, sharegpt = _records(run, tmp_path / "one"), _records(run, tmp_path / "two", chat_format="sharegpt")
    for one, other in zip(llava, sharegpt, strict=True):
        image, asked, answer = _turns(one)
        assert other == {
            "id": one["id"], "images": [image],
            "messages": [{"role": "user", "content": f"<image>{asked}"}, {"role": "assistant", "content": answer}],
        }  # fmt: skip


def test_questions_have_letters(tmp_path: Path) -> None:
    options = ["A cat.", "an <image> trap\nB. No cat.", "No dog.", "Neither."]
    run = make_run(tmp_path / "run", [[question("q", options=options, answer=2)]], QUESTIONS)
    (record,) = _records(run, tmp_path / "out")
    _, asked, answer = _turns(record)
    assert asked.splitlines() == [
        "Which of these statements is true of this image?", "A. A cat.", "B. an (image) trap B. No cat.", "C. No dog.",
        "D. Neither.", "Answer with the option's letter from the given choices directly.",
    ]  # fmt: skip
    assert answer == "C"
    with pytest.raises(PlanError, match="27 options"):
        multiple_choice("q", ["x"] * 27, 0)


@pytest.mark.parametrize(
    ("name", "plain", "denied"),
    [
        ("umbrella", "Is there an umbrella in", "there is no umbrella in"),
        ("broccoli", "Is there any broccoli in", "there is no broccoli in"),
        ("skis", "Are there any skis in", "there are no skis in"),
        ("traffic light", "Is there a traffic light in", "there is no traffic light in"),
        ("bus", "Is there a bus in", "there is no bus in"),
    ],
)
def test_questions_are_plain_english(name: str, plain: str, denied: str) -> None:
    assert plain in plainly(name)
    assert denied in negated(name)
    assert "<image>" not in plainly(f"{name} <image>") + negated(f"<image> {name}")


def test_refusals(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [[row("a", "1", "1")]])
    with pytest.raises(ConfigError, match="llava, sharegpt"):
        export_chat_json(run, str(tmp_path / "out"), chat_format="alpaca")
    schema = SCHEMA.remove(SCHEMA.get_field_index("absent_object"))
    bare = {k: v for k, v in row("a", "1", "1").items() if k != "absent_object"}
    with pytest.raises(PlanError, match="absent_object or negative_objects"):
        export_chat_json(make_run(tmp_path / "bare", [[bare]], schema), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
