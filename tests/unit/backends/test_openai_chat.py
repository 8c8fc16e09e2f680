"""The HTTP chat backend against a real server in another process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negscale import app
from negscale.backends.config import ChatJudgeConfig, check_access
from negscale.backends.http_client import HttpClientConfig, Pace
from negscale.backends.openai_chat import OpenAIChat, OpenAIChatConfig
from negscale.backends.openai_wire import constraint_fields, reply_of
from negscale.backends.tiny.chat import TinyChatConfig
from negscale.core.backend import ChatRequest, Reply, Turn
from negscale.core.errors import ConfigError, FatalError
from negscale.core.stage import Fault
from tests.unit.backends.chat_server import ServerProcess

QUICK = HttpClientConfig(backoff_s=0.01, backoff_max_s=0.05, read_timeout_s=20, total_timeout_s=60, attempts=8)
Start = Callable[..., tuple[ServerProcess, OpenAIChat]]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    ends: list[Any] = []

    def run(client: HttpClientConfig = QUICK, config: dict[str, Any] | None = None, **options: Any) -> Any:
        server = ServerProcess(tmp_path, **options)
        settings = {
            "model": "tiny",
            "base_url": server.base_url,
            "images_per_prompt": 1,
            "client": client,
            **(config or {}),
        }
        model = OpenAIChatConfig(**settings).build()
        model.load()
        ends.extend([model, server])
        return server, model

    yield run
    for end in ends:
        end.close()


def requests(count: int) -> list[ChatRequest]:
    text = "Add the absence of the hat to the caption 'A dog in the park, number {}'."
    return [ChatRequest((Turn("user", text.format(i)),), i) for i in range(count)]


def test_the_server_gets_what_the_model_needs(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "secret")
    extra = {"chat_template_kwargs": {"enable_thinking": False}}
    server, model = start(config={"api_key_env": "A_KEY", "extra_body": extra, "choices": ("yes", "no")})
    picture = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    question = Turn("user", "Is there a cat in this image? Answer only with 'yes' or 'no'.", picture)
    asked = [ChatRequest((Turn("system", "be brief"), question), 2**63 + 5), *requests(30)]
    local = TinyChatConfig().build()
    assert [getattr(r, "text", r) for r in model.generate(asked)] == [
        getattr(r, "text", r) for r in local.generate([ChatRequest(r.turns, r.seed & (2**63 - 1)) for r in asked])
    ]  # the same texts: turns, pixels and seeds came through
    seen = next(s for s in server.stats()["seen"] if s["messages"][0]["role"] == "system")
    assert seen["auth"] == "Bearer secret"
    assert seen["seed"] == 5
    assert (seen["temperature"], seen["top_p"], seen["max_tokens"]) == (0.6, 0.9, 256)
    assert seen["structured_outputs"] == {"choice": ["yes", "no"]}
    assert seen["chat_template_kwargs"] == {"enable_thinking": False}


def test_a_bad_day_costs_time_and_no_answer(start: Start) -> None:
    troubles = {"http_429": 0.15, "http_500": 0.15, "cut_connection": 0.15, "broken_json": 0.1}
    server, model = start(QUICK.model_copy(update={"attempts": 30}), troubles=troubles, seed=3)
    asked = requests(60)
    assert [getattr(r, "text", r) for r in model.generate(asked)] == [
        getattr(r, "text", r) for r in TinyChatConfig().build().generate(asked)
    ]
    counts = server.stats()["counts"]
    assert all(counts[name] > 3 for name in troubles), counts


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        ("http_429", "rate_limited"), ("http_500", "server_error"), ("cut_connection", "connection_error"),
        ("broken_json", "invalid_reply"),
    ],
)  # fmt: skip
def test_what_never_gets_better_is_a_fault_that_may_be_tried_again(start: Start, trouble: str, kind: str) -> None:
    server, model = start(QUICK.model_copy(update={"attempts": 3}), troubles={trouble: 1.0})
    for answer in model.generate(requests(4)):
        assert isinstance(answer, Fault)
        assert (answer.kind, answer.retryable) == (kind, True)
        assert "gave up after 3 attempts" in answer.message
    assert server.stats()["counts"] == {trouble: 12}


def test_a_stalled_server_is_left_in_time(start: Start) -> None:
    client = QUICK.model_copy(update={"read_timeout_s": 0.3, "attempts": 50, "total_timeout_s": 1.5})
    _, model = start(client, troubles={"stall": 1.0}, stall_s=60)
    begin = time.monotonic()
    (answer,) = model.generate(requests(1))
    assert isinstance(answer, Fault)
    assert (answer.kind, answer.retryable) == ("timeout", True)
    assert 0.3 <= time.monotonic() - begin < 30  # not 60


def test_nobody_there_is_a_fault_too(start: Start) -> None:
    _, model = start(QUICK.model_copy(update={"attempts": 2}), {"base_url": "http://127.0.0.1:9/v1"})
    (answer,) = model.generate(requests(1))
    assert isinstance(answer, Fault)
    assert answer.kind == "connection_error"


def test_no_more_in_flight_than_allowed(start: Start) -> None:
    client = QUICK.model_copy(update={"max_in_flight": 3})
    server, model = start(client, troubles={"stall": 1.0}, stall_s=0.05)
    threads = [threading.Thread(target=model.generate, args=(requests(8),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.stats()["most_in_flight"] == 3


def test_the_pace_is_kept(start: Start) -> None:
    server, model = start(QUICK.model_copy(update={"requests_per_minute": 600.0}))
    begin = time.monotonic()
    model.generate(requests(40))  # 20 at once (two seconds' worth), then ten a second
    assert time.monotonic() - begin > 1.7
    starts = sorted(seen["at"] for seen in server.stats()["seen"])
    assert starts[-1] - starts[20] > 1.5


def test_pace_by_the_clock() -> None:
    pace = Pace(60.0)
    assert [pace.wait_s(1, 100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]
    pace.correct(-2)
    assert pace.wait_s(1, 100.0) == 0.0
    assert pace.wait_s(1, 200.0) == 0.0
    assert Pace(None).wait_s(1e9, 0.0) == 0.0


def test_close_frees_those_who_wait(start: Start) -> None:
    _, model = start(troubles={"stall": 1.0}, stall_s=60)
    failed: list[BaseException] = []

    def ask() -> None:
        try:
            model.generate(requests(3))
        except FatalError as error:
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    time.sleep(0.5)
    model.close()
    thread.join(10)
    assert not thread.is_alive()
    assert "closed with requests in it" in str(failed[0])
    with pytest.raises(FatalError, match="call load"):
        model.generate(requests(1))
    model.load()
    model.close()


def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    config = OpenAIChatConfig(model="m", api_key_env="NO_SUCH_KEY")
    for attempt in (config.build().load, lambda: check_access(ChatJudgeConfig(chat=config))):
        with pytest.raises(ConfigError, match=r"NO_SUCH_KEY.*not set.*export NO_SUCH_KEY"):
            attempt()
    chat = ["kind=openai_chat", "model=m", "api_key_env=NO_SUCH_KEY"]
    with pytest.raises(ConfigError, match=r"export NO_SUCH_KEY"):  # a plan fails where the run would
        app.prepare("negationclip_p1", [], [f"proposer.chat.{setting}" for setting in chat])
    monkeypatch.setenv("NO_SUCH_KEY", "x")
    check_access(ChatJudgeConfig(chat=config))


def test_identity_is_the_model_not_the_place() -> None:
    base = OpenAIChatConfig(model="m")
    for change in ({"base_url": "http://b/v1"}, {"api_key_env": "X"}, {"client": HttpClientConfig(attempts=9)}):
        assert base.model_copy(update=change).identity() == base.identity()
    for change in (
        {"model": "n"},
        {"revision": "1"},
        {"image_format": "jpeg"},
        {"extra_body": {"a": [1, {"b": None}]}},
    ):
        assert base.model_copy(update=change).identity() != base.identity()
    assert base.build().id == "openai_chat/m@unknown"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"base_url": "localhost:8000"}, "before /chat/completions"),
        ({"base_url": "http://h/v1/chat/completions"}, "before /chat/completions"),
        ({"choices": ["a", "a"]}, "different, non-empty"),
        ({"extra_body": {"seed": 1}}, "keys of their own"),
    ],
)
def test_bad_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OpenAIChatConfig(model="m", **values)


def read(status: int, body: Any, **more: Any) -> Any:
    return reply_of(status, body, str(body), **{"unwrap": False, "model": "m", "key_variable": "KEY", **more})


def chat(content: Any, finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **message}, "finish_reason": finish}]}


def test_replies_of_several_servers() -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    assert read(200, {**chat("hi"), "usage": usage}).value == Reply("hi", "stop", 7, 2)
    assert read(200, {**chat("hi"), "usage": usage}).tokens == 9
    assert read(200, chat("hi", "eos_token")).value == Reply("hi", "stop", 0, 0)
    assert read(200, chat([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}])).value.text == "ab"
    assert read(200, chat("cut", "length")).value.finish_reason == "length"
    assert read(200, chat('{"answer": "no"}'), unwrap=True).value.text == "no"
    assert read(200, chat("no"), unwrap=True).value.text == "no"
    assert read(200, chat(None, "content_filter")).kind == "content_filter"
    assert read(200, chat(None, refusal="I will not")).value.kind == "refusal"
    for odd in (
        None,
        [],
        {},
        {"choices": []},
        chat("x", None),
        chat("x", "tool_calls"),
        {"choices": [{"message": None}]},
    ):
        assert read(200, odd) is None


def test_errors_of_several_servers() -> None:
    long = "This model's maximum context length is 2048 tokens. However, you requested 9000"
    for body in (
        {"error": {"message": long, "code": "context_length_exceeded"}},  # OpenAI
        {"object": "error", "message": long, "code": 400},  # vLLM
        {
            "error": "Input validation error: `inputs` must have less than 1024 tokens",
            "error_type": "validation",
        },  # TGI
    ):
        assert (read(400, body).kind, read(400, body).retryable) == ("prompt_too_long", False)
    assert read(400, {"error": {"message": "bad image", "code": None}}).kind == "prompt_refused"
    assert read(400, {"error": {"message": "filtered", "code": "content_filter"}}).kind == "content_filter"
    assert read(413, None).kind == "prompt_too_long"
    for status in (429, 500, 503, 408):
        assert read(status, {"error": {"message": "later"}}) is None
    for status, body, match in (
        (401, {"error": {"message": "bad key"}}, r"API key.*'KEY'.*set a valid key"),
        (403, None, r"forbids model 'm'"),
        (404, {"error": {"message": "model m not found"}}, r"does not serve model 'm'.*base_url"),
        (429, {"error": {"message": "pay", "code": "insufficient_quota"}}, "no quota left"),
    ):
        with pytest.raises(FatalError, match=match):
            read(status, body)


def test_one_fatal_answer_ends_the_call(start: Start) -> None:
    server, _ = start()
    model = OpenAIChatConfig(model="m", base_url=f"{server.root}/v2").build()
    model.load()
    with pytest.raises(FatalError, match=r"does not serve model 'm'"):
        model.generate(requests(20))
    model.close()


def test_constraints_as_servers_call_them() -> None:
    assert constraint_fields("structured_outputs", ()) == {}
    assert constraint_fields("guided_choice", ("yes", "no")) == {"guided_choice": ["yes", "no"]}
    assert constraint_fields("regex", ("a.b", "no")) == {"regex": r"(a\.b|no)"}
    schema: Any = constraint_fields("json_schema", ("yes", "no"))
    assert schema["response_format"]["json_schema"]["schema"]["properties"]["answer"]["enum"] == ["yes", "no"]
