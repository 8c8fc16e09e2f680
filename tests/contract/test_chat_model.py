"""What every ChatModel promises; each implementation that can load here is tried."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from negscale.backends.openai_chat import OpenAIChat, OpenAIChatConfig
from negscale.backends.tiny.chat import TinyChatConfig
from negscale.backends.vllm import Sampling, VllmChatConfig, VllmEngineConfig
from negscale.core.backend import ChatModel, ChatRequest, Reply, Turn
from negscale.core.stage import Fault
from tests.unit.backends.chat_server import ServerProcess


def small_llama(folder: Path) -> ChatModel:
    """A Llama with random weights behind the real engine."""
    from tests.unit.backends.made_models import make_llama

    engine = VllmEngineConfig(cpu_cache_gb=0.25, max_num_seqs=16, enforce_eager=True)
    return VllmChatConfig(
        model="made/llama",
        path=str(make_llama(folder)),
        dtype="float32",
        sampling=Sampling(max_new_tokens=8),
        engine=engine,
    ).build()


class OverHttp(OpenAIChat):
    """The HTTP backend together with the server that it asks."""

    def __init__(self, folder: Path) -> None:
        self._server = ServerProcess(folder)
        super().__init__(OpenAIChatConfig(model="tiny", base_url=self._server.base_url, images_per_prompt=1))

    def close(self) -> None:
        super().close()
        self._server.close()


MODELS: dict[str, Callable[[Path], ChatModel]] = {
    "openai_chat": OverHttp,
    "tiny_chat": lambda folder: TinyChatConfig().build(),
    "vllm_chat": small_llama,
}
NEEDS_VLLM = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason='vLLM is not installed; pip install "negscale[cpu]"'
    ),
]


@pytest.fixture(scope="module", params=["tiny_chat", "openai_chat", pytest.param("vllm_chat", marks=NEEDS_VLLM)])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatModel]:
    os.environ.setdefault("NO_PROXY", "127.0.0.1")
    built = MODELS[request.param](tmp_path_factory.mktemp("model"))
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
        assert not model.exact or f"number {i}" in reply.text  # random weights follow no instructions
    longer = [
        ChatRequest((Turn("user", "Add the absence of the hat to the caption 'A dog" + " and a cat" * i + "'."),))
        for i in (3, 1, 2)
    ]
    counts = [reply.prompt_tokens for reply in model.generate(longer) if isinstance(reply, Reply)]
    assert np.argsort(counts).tolist() == [1, 2, 0]


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
    asked = requests(40)
    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(model.generate, [asked[i::4] for i in range(4)]))
    whole = model.generate(asked)
    if model.exact:
        assert parts == [whole[i::4] for i in range(4)]
    same = [a == b for i, part in enumerate(parts) for a, b in zip(part, whole[i::4], strict=True)]
    assert np.mean(same) > 0.8  # another batch may round a close draw the other way


def test_images_are_looked_at_or_refused(model: ChatModel) -> None:
    question = Turn(
        "user", "Is there a cat in this image? Answer only with 'yes' or 'no'.", np.zeros((96, 96, 3), np.uint8)
    )
    reply = model.generate([ChatRequest((question,))])[0]
    assert isinstance(reply, Reply if model.accepts_images else Fault)


def test_it_has_a_name_with_a_revision(model: ChatModel) -> None:
    assert model.id.partition("/")[0]
    assert model.id.partition("@")[2]
