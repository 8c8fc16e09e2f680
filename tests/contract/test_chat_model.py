"""What every ChatModel promises; each implementation that can load here is tried."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from negscale.backends.tiny.chat import TinyChatConfig
from negscale.core.backend import ChatModel, ChatRequest, Reply, Turn
from negscale.core.stage import Fault

MODELS: dict[str, Callable[[], ChatModel]] = {"tiny_chat": lambda: TinyChatConfig().build()}


@pytest.fixture(params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> Iterator[ChatModel]:
    built = MODELS[request.param]()
    built.load()
    yield built
    built.close()


def requests(count: int) -> list[ChatRequest]:
    return [
        ChatRequest((Turn("user", f"Add the absence of the hat to the caption 'A dog in the park, number {i}'."),), i)
        for i in range(count)
    ]


def test_one_answer_per_request_in_order(model: ChatModel) -> None:
    replies = model.generate(requests(7))
    assert len(replies) == 7
    for i, reply in enumerate(replies):
        assert isinstance(reply, Reply)
        assert f"number {i}" in reply.text


def test_no_request_no_answer(model: ChatModel) -> None:
    assert model.generate([]) == []


def test_replies_carry_counts_and_a_reason(model: ChatModel) -> None:
    for reply in model.generate(requests(3)):
        assert isinstance(reply, Reply)
        assert reply.finish_reason in ("stop", "length")
        assert reply.prompt_tokens > 0
        assert reply.completion_tokens > 0


def test_exact_models_do_not_depend_on_batch_mates(model: ChatModel) -> None:
    if not model.exact:
        pytest.skip("declares itself batch-dependent")
    asked = requests(12)
    whole = model.generate(asked)
    assert whole == [model.generate([request])[0] for request in asked]
    assert whole == model.generate(asked[::-1])[::-1]


def test_the_seed_matters(model: ChatModel) -> None:
    turns = (Turn("user", "Name a random object."),)
    replies = model.generate([ChatRequest(turns, seed) for seed in range(32)])
    assert len({reply.text for reply in replies if isinstance(reply, Reply)}) > 3


def test_calls_from_several_threads_agree(model: ChatModel) -> None:
    from concurrent.futures import ThreadPoolExecutor

    asked = requests(40)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(model.generate, [asked[i::4] for i in range(4)]))
    whole = model.generate(asked)
    assert parts == [whole[i::4] for i in range(4)]


def test_images_are_looked_at_or_refused(model: ChatModel) -> None:
    question = Turn(
        "user", "Is there a cat in this image? Answer only with 'yes' or 'no'.", np.zeros((96, 96, 3), np.uint8)
    )
    reply = model.generate([ChatRequest((question,))])[0]
    assert isinstance(reply, Reply if model.accepts_images else Fault)


def test_it_has_a_name_with_a_revision(model: ChatModel) -> None:
    assert model.id.partition("/")[0]
    assert model.id.partition("@")[2]
