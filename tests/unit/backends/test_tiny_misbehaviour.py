from __future__ import annotations

import faulthandler
import multiprocessing
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest

from negscale.backends.tiny.chat import TinyChatConfig
from negscale.backends.tiny.misbehaviour import Misbehaviour
from negscale.backends.tiny.vision import TinyJudgeConfig
from negscale.core.backend import ChatRequest, Picture, Reply, Turn, Verdict

QUESTION = "Is there a cat in this image? Answer only with 'yes' or 'no'."
BLANK = np.full((96, 96, 3), 230, np.uint8)


def chat_call(bad: Misbehaviour, text: str = QUESTION, seed: int = 0, calls: int = 1) -> str:
    chat = TinyChatConfig(misbehaviour=bad).build()
    replies = [chat.generate([ChatRequest((Turn("user", text, BLANK),), seed)])[0] for _ in range(calls)]
    assert isinstance(replies[-1], Reply)
    return replies[-1].text


def judge_call(bad: Misbehaviour, image_id: str = "toy-00000007") -> None:
    TinyJudgeConfig(misbehaviour=bad).build().judge([Picture(BLANK, image_id)], ["cat"])


def quietly(call: Callable[..., object], *arguments: object) -> None:
    faulthandler.disable()  # pytest's traceback of a wanted segfault would look like a broken test
    call(*arguments)


def exit_code(call: Callable[..., object], *arguments: object, wait_s: float = 20) -> int | None:
    """How a process that makes the call ends; None = it had to be ended."""
    process = multiprocessing.get_context("fork").Process(target=quietly, args=(call, *arguments))
    process.start()
    process.join(wait_s)
    if process.is_alive():
        process.kill()
        process.join()
        return None
    return process.exitcode


def test_none_of_it_bears_identity() -> None:
    bad = Misbehaviour(malformed=0.5, exits=("x",), latency_ms=3)
    assert TinyChatConfig(misbehaviour=bad).identity() == TinyChatConfig().identity() == {"kind": "tiny_chat"}
    assert TinyJudgeConfig(misbehaviour=bad).identity() == {"kind": "tiny_judge"}
    assert TinyChatConfig(misbehaviour=bad).build().id == TinyChatConfig().build().id


def test_malformed_share_and_retry_with_a_new_seed() -> None:
    bad = Misbehaviour(malformed=0.3)
    answers = [chat_call(bad, seed=seed).strip(".").lower() for seed in range(400)]
    broken = [answer not in ("yes", "no") for answer in answers]
    assert 0.2 < sum(broken) / 400 < 0.4
    assert answers == [chat_call(bad, seed=seed).strip(".").lower() for seed in range(400)]
    healthy = [chat_call(Misbehaviour(), seed=seed).strip(".").lower() for seed in range(400)]
    assert all(a == b for a, b, wrong in zip(answers, healthy, broken, strict=True) if not wrong)
    judge = TinyJudgeConfig(misbehaviour=bad).build()
    found = judge.judge([Picture(BLANK, "x", seed) for seed in range(400)], ["cat"] * 400)
    assert 0.2 < sum(isinstance(v, Verdict) and v.accept is None for v in found) / 400 < 0.4


def test_raises_a_share() -> None:
    raised = 0
    for seed in range(200):
        try:
            chat_call(Misbehaviour(raises=0.2), seed=seed)
        except RuntimeError:
            raised += 1
    assert 15 < raised < 70


def test_hard_exits_strike_only_their_needle() -> None:
    bad = Misbehaviour(exits=("a cat", "toy-00000007"))
    assert exit_code(chat_call, bad) == 1
    assert exit_code(chat_call, bad, QUESTION.replace("cat", "dog")) == 0
    assert exit_code(judge_call, bad) == 1
    assert exit_code(judge_call, bad, "toy-00000008") == 0


def test_segfaults() -> None:
    assert exit_code(chat_call, Misbehaviour(segfaults=("a cat",))) == -signal.SIGSEGV


def test_hangs() -> None:
    assert exit_code(judge_call, Misbehaviour(hangs=("toy-00000007",)), wait_s=1.5) is None


def test_models_that_die_always_or_after_a_while() -> None:
    assert exit_code(judge_call, Misbehaviour(dies_always=True)) == 1
    assert exit_code(chat_call, Misbehaviour(exits_after=3), QUESTION, 0, 3) == 0
    assert exit_code(chat_call, Misbehaviour(exits_after=3), QUESTION, 0, 4) == 1


def test_latency() -> None:
    start = time.monotonic()
    chat_call(Misbehaviour(latency_ms=50), calls=3)
    assert time.monotonic() - start >= 0.15


def test_shares_are_shares() -> None:
    with pytest.raises(ValueError):
        Misbehaviour(malformed=1.5)
