"""CheXpert's layout and its questions on small files that the test writes: labels kept apart, texts balanced."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from negscale import app
from negscale.core.errors import ConfigError
from negscale.datasets.chexpert import TABLE, ChexpertConfig, broader, finding_rows
from negscale.datasets.chexpert_questions import QuestionRules, question_rows, states_of
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder

HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Cardiomegaly,Lung Opacity,Edema,Pneumonia,Fracture"


def csv(*lines: str) -> bytes:
    return "\n".join([HEADER, *lines, ""]).encode()


def path(number: int, view: str = "frontal", split: str = "valid") -> str:
    return f"CheXpert-v1.0-small/{split}/patient{number:05d}/study1/view1_{view}.jpg"


def image(**states: list[str]) -> dict[str, Any]:
    return {"present": [], "absent": [], "uncertain": [], **states}


def test_labels_are_four_states_kept_apart() -> None:
    data = csv(
        f"{path(1)},Female,60,Frontal,AP,,1.0,0.0,-1.0,,1", f"{path(2, 'lateral')},Male,50,Lateral,,1.0,,,,,",
        f"{path(3)},Male,50,Frontal,AP,,maybe,,,,", f"{path(1)},Female,60,Frontal,AP,,1.0,,,,",
    )  # fmt: skip
    table, left_out = finding_rows(data, "valid.csv")
    assert table.schema.equals(TABLE)
    rows = table.to_pylist()
    assert left_out == 0
    assert rows[0]["id"] == "valid/patient00001/study1/view1_frontal"
    assert rows[0]["image"]["uri"] == path(1)
    assert (rows[0]["patient_id"], rows[0]["view"]) == ("patient00001", "frontal")
    assert rows[0]["present"] == ["Cardiomegaly", "Fracture"]
    assert rows[0]["absent"] == ["Lung Opacity"]
    assert rows[0]["uncertain"] == ["Edema"]
    assert rows[1]["present"] == rows[1]["absent"] == []
    assert [row["quarantine"] and row["quarantine"]["kind"] for row in rows] == [
        None,
        None,
        "bad_label",
        "duplicate_id",
    ]
    frontal, left_out = finding_rows(data, "valid.csv", "frontal")
    assert (len(frontal), left_out) == (3, 1)
    with pytest.raises(ConfigError, match="expected Path"):
        finding_rows(b"a,b\n1,2\n", "x.csv")
    with pytest.raises(ConfigError, match="lateral"):
        finding_rows(csv(f"{path(1)},F,1,Frontal,AP,,,,,,"), "x.csv", "lateral")


def test_uncertain_and_blank_decide_nothing_unless_told_to() -> None:
    said = image(present=["Cardiomegaly"], absent=["Edema"], uncertain=["Fracture"])
    findings = ("Cardiomegaly", "Edema", "Fracture", "Pneumothorax")
    assert states_of(said, QuestionRules(findings)) == {"Cardiomegaly": True, "Edema": False}
    assert states_of(said, QuestionRules(findings, blank="absent"))["Pneumothorax"] is False
    assert "Fracture" not in states_of(said, QuestionRules(findings, blank="absent"))
    assert states_of(said, QuestionRules(findings, uncertain="present"))["Fracture"] is True
    assert states_of(said, QuestionRules(findings, uncertain="absent"))["Fracture"] is False


def test_a_finding_implied_by_a_present_one_is_never_absent() -> None:
    assert broader("Pneumonia") == ("Consolidation", "Lung Opacity")
    said = image(present=["Pneumonia"], absent=["Lung Opacity", "Edema"])
    rules = QuestionRules(("Pneumonia", "Lung Opacity", "Edema", "Consolidation"), blank="absent")
    assert states_of(said, rules) == {"Pneumonia": True, "Edema": False}


def write(root: Path, images: int) -> Path:
    """Labels by chance, edema three times as often present as absent."""
    chance = random.Random(3)
    lines = []
    for number in range(images):
        edema = chance.choice(["1.0", "1.0", "1.0", "0.0", "-1.0", ""])
        rest = [chance.choice(["1.0", "0.0", "-1.0", ""]) for _ in range(4)]
        lines.append(f"{path(number)},Male,50,Frontal,AP,,{rest[0]},{rest[1]},{edema},{rest[2]},{rest[3]}")
    folder = root / "CheXpert-v1.0-small"
    folder.mkdir()
    (folder / "valid.csv").write_bytes(csv(*lines, f"{path(99999)},Male,50,Frontal,AP,,broken,,,,"))
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Path]:
    root = write(tmp_path_factory.mktemp("chexpert"), 600)
    overrides = [
        f"source.root={root}", "findings=[Cardiomegaly, Lung Opacity, Edema, Pneumonia, Fracture]", "source.shard_rows=300",
        "runtime.executor=local", f"runtime.run_root={root / 'runs'}",
    ]  # fmt: skip
    prepared = app.prepare("chexpert_binary", (), overrides)
    app.generate(prepared)
    return RunFolder(prepared.spec.uri), root


def rows_of(run: RunFolder, kind: str = "data") -> list[dict[str, Any]]:
    return [row for _, table in run.tables(kind) for row in table.to_pylist()]


def test_each_text_is_right_as_often_as_wrong(run: tuple[RunFolder, Path]) -> None:
    rows = rows_of(run[0])
    assert audit(run[0]).passed
    right = Counter((row["question_type"], row["options"][row["answer"]]) for row in rows)
    wrong = Counter((row["question_type"], row["options"][1 - row["answer"]]) for row in rows)
    assert right == wrong
    assert len(right) == 5 + 10
    assert sum(count for (kind, _), count in right.items() if kind == "control") > 200
    first = sum(row["answer"] == 0 for row in rows) / len(rows)
    assert 0.45 < first < 0.55
    refused = rows_of(run[0], "rejected")
    assert {row["rejection"]["reason"] for row in refused} == {"beyond_balance"}
    edema = [
        row["finding_present"] for row in refused if row["finding"] == "Edema" and row["question_type"] == "negation"
    ]
    assert len(edema) > 100
    assert all(edema), "only the commoner side is cut"
    assert [row["quarantine"]["kind"] for row in rows_of(run[0], "quarantine")] == ["bad_label"]


def test_every_answer_follows_from_the_labels(run: tuple[RunFolder, Path]) -> None:
    folder, root = run
    data = (root / "CheXpert-v1.0-small/valid.csv").read_bytes()
    labels = {row["id"]: row for row in finding_rows(data, "valid.csv")[0].to_pylist()}
    for row in rows_of(folder):
        said = labels[row["image_id"]]
        right, wrong = row["options"][row["answer"]], row["options"][1 - row["answer"]]
        shown = f"This image shows {row['finding']}."
        assert (row["finding"] in said["present"]) == (right == shown)
        if row["question_type"] == "negation":
            assert {right, wrong} == {shown, f"This image does not show {row['finding']}."}
            assert row["finding"] in said["present"] + said["absent"]
        else:
            assert wrong == f"This image shows {row['other_finding']}."
            assert row["other_finding"] in said["absent"]
            assert row["other_finding"] not in broader(row["finding"])
            assert row["finding"] not in broader(row["other_finding"])


def test_the_balance_is_a_function_of_seed_and_labels(tmp_path: Path) -> None:
    rows, _ = finding_rows((write(tmp_path, 80) / "CheXpert-v1.0-small/valid.csv").read_bytes(), "valid.csv")
    rules = QuestionRules(("Edema", "Fracture"))
    first, without = question_rows(rows.to_pylist(), rules, 1)
    backwards, _ = question_rows(rows.to_pylist()[::-1], rules, 1)
    assert first.sort_by("id").equals(backwards.sort_by("id"))
    assert not first.equals(question_rows(rows.to_pylist(), rules, 2)[0])
    assert without == sum(not states_of(row, rules) and not row["quarantine"] for row in rows.to_pylist())


def test_unknown_findings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Lung Opacity"):
        app.load_config("chexpert_binary", (), [f"source.root={tmp_path}", "findings=[Lung Opacty]"])
    with pytest.raises(ConfigError, match=r"no file .*valid.csv"):
        ChexpertConfig(root=str(tmp_path)).build().list()
