"""Chat models on choices and groups: the rows are those of a dual encoder, and what cannot be read is missing, not wrong."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from negscale.backends.tiny.chat import TinyChat, TinyChatConfig
from negscale.backends.tiny.misbehaviour import Misbehaviour
from negscale.benchmarks.answering import asked_rows, evaluate_answers, questions_of_items
from negscale.benchmarks.catalogue import released
from negscale.benchmarks.released_run import Prepared, prepare
from negscale.benchmarks.scoring import CHOICE_SCORE, GROUP_SCORE
from negscale.core.backend import ChatRequest, Reply, Turn
from negscale.core.errors import ConfigError
from negscale.core.runtime import RuntimeConfig
from negscale.core.stage import Fault, Resources
from negscale.datasets.images import ImageReader
from negscale.datasets.toy_scenes import scene
from negscale.pipelines.answers import AnswersConfig
from negscale.prompts.nein import caption_question
from negscale.stages.answering import AnswerChoices
from negscale.suite_answers import ask_all
from tests.unit.benchmarks.toy_suite import WORLD, make_files

SCENES = 18
NAMES = ["negbench/mcq-coco", "two-by-two", "sugarcrepe"]


class LetterChat:
    """The tiny model with the habit of letters: looks at each option by itself, names the first that it thinks true."""

    exact, accepts_images, id = True, True, "test/letters"

    def __init__(self, only: str = "") -> None:
        self._eyes, self._only = TinyChat(TinyChatConfig()), only
        self.asked: list[ChatRequest] = []

    def load(self) -> None:
        self._eyes.load()

    def close(self) -> None:
        self._eyes.close()

    def generate(self, requests: Sequence[ChatRequest]) -> list[Reply | Fault]:
        self.asked += requests
        return [self._answer(request) for request in requests]

    def _answer(self, request: ChatRequest) -> Reply | Fault:
        turn = request.turns[-1]
        options = re.findall(r"^([A-Z])\. (.*)$", turn.text, re.MULTILINE)
        if self._only:
            return Reply(self._only, "stop", 1, 1)
        for letter, text in options:
            reply = self._eyes.generate(
                [ChatRequest((Turn("user", caption_question(text), turn.image),), request.seed)]
            )[0]
            if isinstance(reply, Reply) and reply.text.lower().startswith("yes"):
                return Reply(f"{letter}.", "stop", 1, 1)
        return Reply("None of them fits.", "stop", 1, 1)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Prepared]:
    root = make_files(tmp_path_factory.mktemp("data"), SCENES)
    return {one.benchmark.name: one for one in prepare(str(root), "", NAMES).prepared}


def stage_of(chat: LetterChat, attempts: int = 3) -> AnswerChoices:
    stage = AnswerChoices(lambda: chat, "letter", ImageReader(""), 0, attempts, Resources())
    stage.setup()
    return stage


def test_yes_and_no_by_a_model_with_eyes(prepared: dict[str, Prepared], tmp_path: Path) -> None:
    runtime = RuntimeConfig(executor="local", run_root=str(tmp_path))
    answers = ask_all(list(prepared.values()), TinyChatConfig(), "yes_no", "", runtime).answers
    assert not answers.faults
    found = {name: evaluate_answers(one, answers) for name, one in prepared.items()}
    mcq = found["negbench/mcq-coco"]
    assert mcq.rows.schema.equals(CHOICE_SCORE)
    assert len(mcq.rows) == SCENES
    assert mcq.figures[0].estimate.missing == 0
    assert set(mcq.figures[0].groups) == {"negative", "hybrid", "positive"}
    assert mcq.gain is not None
    sugar = found["sugarcrepe"]
    assert sugar.figures[0].estimate.value > 0.9  # it sees what is there
    groups = found["two-by-two"]
    assert groups.rows.schema.equals(GROUP_SCORE)
    assert {figure.name for figure in groups.figures} == {"text_score", "image_score", "group_score"}
    again = ask_all(list(prepared.values()), TinyChatConfig(), "yes_no", "", runtime).answers
    assert again.scores == answers.scores  # read from the finished run


def test_answers_that_cannot_be_read_are_missing(prepared: dict[str, Prepared], tmp_path: Path) -> None:
    chat = TinyChatConfig(misbehaviour=Misbehaviour(malformed=0.3))
    runtime = RuntimeConfig(executor="local", run_root=str(tmp_path), quarantine_budget=1.0)
    one = prepared["negbench/mcq-coco"]
    patient = ask_all([one], chat, "yes_no", "", runtime, max_attempts=6).answers
    hasty = ask_all([one], chat, "yes_no", "", runtime, max_attempts=1).answers
    assert len(patient.scores) > len(hasty.scores)  # asked again with another seed
    lost = [fault for fault in hasty.faults.values() if fault.kind == "unparsable"]
    result = evaluate_answers(one, hasty)
    assert result.figures[0].estimate.missing == len(lost) > 0
    assert result.notes["fault unparsable"] == len(lost)
    known = [credit for credit in result.rows["credit"].to_pylist() if credit is not None]
    assert len(known) == SCENES - len(lost) > 0
    assert result.figures[0].estimate.value == pytest.approx(float(np.mean(known)))


def test_letters_go_back_to_the_file_s_order(prepared: dict[str, Prepared]) -> None:
    items = prepared["sugarcrepe"].located.items
    questions = [asked[0] for asked in questions_of_items(released("sugarcrepe"), items)]
    rows, ids, faults = asked_rows(questions, ImageReader(""))
    assert not faults
    chat = LetterChat()
    outcomes = stage_of(chat).process(rows.drop_columns(["shard"]).to_pylist())
    right = 0
    for row, outcome in zip(rows.to_pylist(), outcomes, strict=True):
        if isinstance(outcome, Fault):
            continue
        names = scene(WORLD, int(row["image"]["uri"].partition("/")[2])).names
        said = row["texts"][int(np.argmax(outcome["text_scores"]))]  # type: ignore[index]
        right += any(name in said for name in names)
    assert right >= 0.9 * len(rows)
    shown_first = [request.turns[-1].text.splitlines()[1][3:] for request in chat.asked[: len(rows)]]
    share = np.mean([row["texts"][0] == text for row, text in zip(rows.to_pylist(), shown_first, strict=True)])
    assert 0.1 < share < 0.9  # the right one is not always A
    assert len(ids) == len(questions)


def test_a_model_that_likes_one_letter_has_chance_and_repeats_are_not_answers(prepared: dict[str, Prepared]) -> None:
    rows = [
        {"id": f"{n}", "image": {"uri": f"toyworld:{WORLD}/0"}, "texts": [f"right {n}", "b", "c", "d"]}
        for n in range(400)
    ]
    outcomes = stage_of(LetterChat("A")).process(rows)
    share = np.mean([outcome["text_scores"][0] for outcome in outcomes])  # type: ignore[index]
    assert share == pytest.approx(0.25, abs=0.07)
    chat = LetterChat("A or B")
    stuck = stage_of(chat, attempts=3).process(rows[:2])
    assert all(isinstance(outcome, Fault) and outcome.kind == "unparsable" for outcome in stuck)
    assert len(chat.asked) == 6
    assert len({request.seed for request in chat.asked}) == 6  # a new seed each time
    assert len({request.turns[-1].text for request in chat.asked}) == 2  # the same question


def test_a_shared_question_is_asked_once_and_a_lost_image_is_said(prepared: dict[str, Prepared]) -> None:
    question = (f"toyworld:{WORLD}/0", ("a", "b"))
    rows, ids, faults = asked_rows([question, question, ("gone.jpg", ("a", "b"))], ImageReader(""))
    assert len(rows) == 1
    assert list(ids) == [question]
    assert [fault.kind for fault in faults.values()] == ["missing_image"]


def test_tasks_for_encoders_and_blind_models_are_refused(prepared: dict[str, Prepared], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be put to a chat model"):
        questions_of_items(released("negrefcocog"), prepared["sugarcrepe"].located.items)
    blind = {"kind": "openai_chat", "model": "text-only"}
    chat = AnswersConfig.model_validate({"source": {"uri": "x.parquet"}, "chat": blind}).chat
    with pytest.raises(ConfigError, match="sees no images"):
        ask_all(list(prepared.values()), chat, "letter", "", RuntimeConfig(executor="local", run_root=str(tmp_path)))
