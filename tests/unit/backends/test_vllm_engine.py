"""The real vLLM engine on a LLaVA-NeXT with random weights: text, images, seeds, threads, limits, death.

The engine takes one to four minutes to start on a CPU, so the whole module shares one; the last test kills it.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest

from negscale.backends.vllm import Sampling, VllmChat, VllmChatConfig, VllmEngineConfig
from negscale.core.backend import ChatRequest, Image, Reply, Turn
from negscale.core.errors import ConfigError, FatalError
from negscale.core.stage import Fault

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason='vLLM is not installed; pip install "negscale[cpu]"'
    ),
]
ENGINE = VllmEngineConfig(cpu_cache_gb=0.25, max_num_seqs=16, enforce_eager=True)
NOISE = np.random.default_rng(0)


def picture(height: int, width: int) -> Image:
    return NOISE.integers(0, 256, (height, width, 3), dtype=np.uint8)


def ask(text: str, seed: int = 0, image: Image | None = None) -> ChatRequest:
    return ChatRequest((Turn("user", text, image),), seed)


def text_of(reply: Reply | Fault) -> str:
    assert isinstance(reply, Reply), reply
    return reply.text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.unit.backends.made_models import make_llava_next

    return make_llava_next(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def chat(folder: Path) -> Iterator[VllmChat]:
    config = VllmChatConfig(
        model="made/llava-next", path=str(folder), dtype="float32", max_model_len=256, images_per_prompt=1,
        sampling=Sampling(temperature=1.0, top_p=0.9, max_new_tokens=12), engine=ENGINE,
    )  # fmt: skip
    built = config.build()
    built.load()
    yield built
    built.close()


def test_one_reply_per_request_with_counts(chat: VllmChat) -> None:
    replies = chat.generate([ask("cat " * n, n) for n in range(1, 30)])
    counts = [reply.prompt_tokens for reply in replies if isinstance(reply, Reply)]
    # one more word, one more token: the order is that of the requests
    assert np.diff(counts).tolist() == [1] * 28
    assert all(isinstance(r, Reply) and 1 <= r.completion_tokens <= 12 for r in replies)
    assert all((r.finish_reason == "length") == (r.completion_tokens == 12) for r in replies if isinstance(r, Reply))
    assert chat.generate([]) == []


def test_a_request_alone_repeats_with_its_seed_and_differs_with_others(chat: VllmChat) -> None:
    first = chat.generate([ask("name an object", 2**63 - 1)])
    assert chat.generate([ask("name an object", 2**63 - 1)]) == first
    assert len({text_of(reply) for reply in chat.generate([ask("name an object", seed) for seed in range(20)])}) > 15


def test_four_threads_share_the_engine(chat: VllmChat) -> None:
    parts = [[ask("dog " * (1 + n), n) for n in range(t, 80, 4)] for t in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(chat.generate, parts))
    alone = [chat.generate(part) for part in parts]
    for got, expected in zip(answers, alone, strict=True):
        assert [r.prompt_tokens for r in got if isinstance(r, Reply)] == [
            r.prompt_tokens for r in expected if isinstance(r, Reply)
        ]
    same = [text_of(a) == text_of(b) for p, q in zip(answers, alone, strict=True) for a, b in zip(p, q, strict=True)]
    # not exact by contract: another batch may round a close draw the other way
    assert np.mean(same) > 0.8


def test_a_prompt_that_is_too_long_faults_alone(chat: VllmChat) -> None:
    good, long, also_good = chat.generate([ask("cat", 1), ask("man " * 400, 2), ask("dog", 3)])
    assert isinstance(good, Reply)
    assert isinstance(also_good, Reply)
    assert isinstance(long, Fault)
    assert long.kind == "prompt_too_long"
    assert not long.retryable


def test_the_chat_template_is_the_models_own(chat: VllmChat) -> None:
    (reply,) = chat.generate(
        [ChatRequest((Turn("system", "a"), Turn("user", "b"), Turn("assistant", "c"), Turn("user", "d")))]
    )
    # begin, then role, letter and end for each of four turns, then the assistant's mark
    assert isinstance(reply, Reply)
    assert reply.prompt_tokens == 1 + 4 * 3 + 1


def test_images_reach_the_model(chat: VllmChat) -> None:
    blank, black, white = (
        chat.generate([ask("is there a dog", 5, image)])[0]
        for image in (None, np.zeros((50, 50, 3), np.uint8), np.full((50, 50, 3), 255, np.uint8))
    )
    assert isinstance(blank, Reply)
    assert isinstance(black, Reply)
    assert black.prompt_tokens > blank.prompt_tokens
    assert len({text_of(reply) for reply in (blank, black, white)}) == 3


@pytest.mark.parametrize(("height", "width"), [(60, 80), (30, 200), (333, 28), (2, 900), (1, 1)])
def test_images_of_any_shape_are_answered(chat: VllmChat, height: int, width: int) -> None:
    assert isinstance(chat.generate([ask("is there a dog", 1, picture(height, width))])[0], Reply)


def test_bad_and_too_many_images_fault_alone(chat: VllmChat) -> None:
    two = ChatRequest((Turn("user", "a", picture(9, 9)), Turn("assistant", "b"), Turn("user", "c", picture(9, 9))))
    flat = ask("a dog", 0, np.zeros((5, 5), np.uint8))
    answers = chat.generate([two, ask("a dog"), flat])
    assert [a.kind if isinstance(a, Fault) else "reply" for a in answers] == ["too_many_images", "reply", "bad_image"]


def test_choices_leave_nothing_else_to_say(chat: VllmChat) -> None:
    limited = chat._config.model_copy(
        update={"choices": ("yes", "no"), "sampling": Sampling(temperature=2.0, top_p=1.0)}
    )
    judge = limited.build()
    judge._service = chat._service  # the engine is the same: choices travel with each request
    said = [text_of(reply) for reply in judge.generate([ask(f"is there a cat {n}", n) for n in range(60)])]
    assert set(said) == {"yes", "no"}


def test_a_model_without_a_chat_template_is_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        if "template" not in file.name:
            (tmp_path / file.name).write_bytes(file.read_bytes())
    bare = VllmChatConfig(model="made/base", path=str(tmp_path), dtype="float32", images_per_prompt=1, engine=ENGINE)
    with pytest.raises(ConfigError, match="no chat template that works"):
        bare.build().load()


def ask_for_a_while(chat: VllmChat) -> None:
    for _ in range(1000):  # the news of a death takes a moment
        chat.generate([ask("a dog")])


def test_a_dead_engine_is_fatal_and_close_leaves_nothing_behind(chat: VllmChat) -> None:
    engines = [p for p in psutil.Process().children(recursive=True) if p.name().startswith("VLLM")]
    assert engines, "the engine runs in processes of its own"
    next(p for p in engines if "Worker" in p.name()).kill()
    with pytest.raises(FatalError, match="died"):
        ask_for_a_while(chat)
    chat.close()
    _, alive = psutil.wait_procs(engines, timeout=20)
    assert alive == []
    with pytest.raises(FatalError, match="call load"):
        chat.generate([ask("a dog")])
