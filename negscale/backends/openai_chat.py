"""Chat models behind an OpenAI-compatible server: `vllm serve`, SGLang, TGI, OpenAI, and most hosted ones.

Plays NegationCLIP's LLM and MLLM (arXiv 2501.10913, section 3.1) where the model is served elsewhere. What differs from
`vllm_chat`: no weights in the worker, one server for all roles, and answers that no revision pins: the server decides
what it holds. The key comes from an environment variable and is never written anywhere.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from negscale.backends.http_client import HttpClient, HttpClientConfig, Post
from negscale.backends.openai_wire import (
    Constraint,
    ImageFormat,
    constraint_fields,
    estimated_tokens,
    messages_of,
    reply_of,
)
from negscale.backends.vllm import Sampling
from negscale.backends.vllm_prompt import image_problem
from negscale.core.backend import ChatRequest, Reply
from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError, FatalError
from negscale.core.stage import Fault, Resources

_OURS = frozenset({"model", "messages", "temperature", "top_p", "seed", "stream", "n"})


class OpenAIChatConfig(Config):
    """A chat model behind an OpenAI-compatible HTTP server."""

    kind: Literal["openai_chat"] = "openai_chat"
    model: str = Field(min_length=1)
    """The model's name as the server lists it."""
    revision: str = "unknown"
    """What you know of the version behind the name (a commit, a date); bears identity, is not sent."""
    base_url: Location = "http://localhost:8000/v1"
    """The part of the address before /chat/completions."""
    api_key_env: Location = ""
    """Name of the environment variable with the API key, on every machine that runs workers; empty: no key is sent."""
    sampling: Sampling = Sampling()
    choices: tuple[str, ...] = ()
    """When given, the server is asked to answer with one of these texts (constrained decoding), e.g. [yes, no]."""
    constraint: Constraint = "structured_outputs"
    """How the server wants `choices`: structured_outputs (vLLM), guided_choice (vLLM before 0.12), regex (SGLang),
    tgi_regex (TGI), json_schema (OpenAI)."""
    images_per_prompt: int = Field(default=0, ge=0)
    """Images that one conversation may hold; 0 = text only."""
    image_format: ImageFormat = "png"
    """How images travel; jpeg is smaller and changes pixels."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """OpenAI's newer models want max_completion_tokens."""
    send_seed: bool = True
    """Off for servers that refuse the field `seed`; a new attempt then differs by chance only."""
    extra_body: dict[str, JsonValue] = {}
    """Further fields of the request, e.g. {chat_template_kwargs: {enable_thinking: false}} for Qwen3 on vLLM."""
    client: HttpClientConfig = HttpClientConfig()

    @field_validator("base_url")
    @classmethod
    def _is_http(cls, url: str) -> str:
        if not url.startswith(("http://", "https://")) or url.rstrip("/").endswith("/chat/completions"):
            raise ValueError("expected the address before /chat/completions, e.g. http://localhost:8000/v1")
        return url

    @model_validator(mode="after")
    def _is_consistent(self) -> OpenAIChatConfig:
        if len(set(self.choices)) != len(self.choices) or "" in self.choices:
            raise ValueError(f"choices must be different, non-empty texts, got {list(self.choices)}")
        taken = sorted(_OURS & self.extra_body.keys())
        if taken:
            raise ValueError(f"extra_body sets {taken}, which have keys of their own in this config")
        return self

    def api_key(self) -> str:
        """The key, empty when none is configured. Raises ConfigError naming the variable that is to be set."""
        if not self.api_key_env:
            return ""
        key = os.environ.get(self.api_key_env, "").strip()
        if not key:
            raise ConfigError(
                f"chat.api_key_env names the environment variable {self.api_key_env!r}, which is not set: put the API key "
                f"for {self.base_url} in it (export {self.api_key_env}=...), here and on every machine that runs workers"
            )
        return key

    def check_access(self) -> None:
        """Raise ConfigError when the key is missing; asks no server. For plan time."""
        self.api_key()

    def build(self) -> OpenAIChat:
        """The backend, not yet connected."""
        return OpenAIChat(self)

    def resources(self) -> Resources:
        """Next to no CPU; one worker where a rate limit is set, because the limit is counted in the worker."""
        client = self.client
        limited = client.requests_per_minute is not None or client.tokens_per_minute is not None
        return Resources(cpus=0.5, actors=1 if limited else None, calls=client.calls, batch_rows=client.batch_rows)


class OpenAIChat:
    """ChatModel over HTTP. Thread-safe; the requests of concurrent calls share connections and limits."""

    exact = False  # the server batches as it likes, and may change without a word

    def __init__(self, config: OpenAIChatConfig) -> None:
        self._config = config
        self.accepts_images = config.images_per_prompt > 0
        self._client: HttpClient | None = None
        self._loading = threading.Lock()

    @property
    def id(self) -> str:
        """openai_chat/MODEL@REVISION; where the server stands is no part of it."""
        return f"openai_chat/{self._config.model}@{self._config.revision}"

    def load(self) -> None:
        """Start the event loop; connects at the first request. Raises ConfigError when the key is missing."""
        with self._loading:
            if self._client is None:
                config, key = self._config, self._config.api_key()
                self._client = HttpClient(
                    f"{config.base_url.rstrip('/')}/chat/completions",
                    {"Authorization": f"Bearer {key}"} if key else {},
                    config.client,
                    partial(
                        reply_of, unwrap=bool(config.choices) and config.constraint == "json_schema", model=config.model,
                        key_variable=config.api_key_env or "(none: set chat.api_key_env)",
                    ),
                )  # fmt: skip

    def close(self) -> None:
        """End the connections; `load` may be called again."""
        with self._loading:
            client, self._client = self._client, None
            if client is not None:
                client.close()

    def generate(self, requests: Sequence[ChatRequest]) -> list[Reply | Fault]:
        """One reply per request, in order; blocks.

        Faults: content_filter, refusal, prompt_too_long, prompt_refused, too_many_images, bad_image, and after all attempts
        timeout, connection_error, rate_limited, server_error, invalid_reply. Raises FatalError when no request can pass.
        """
        client = self._client
        if client is None:
            raise FatalError(f"{self.id}: generate() on a model that is not loaded, or was closed; call load() first")
        answers: list[Reply | Fault | None] = [self._refusal(request) for request in requests]
        asked = [i for i, answer in enumerate(answers) if answer is None]
        replies = client.post_all([self._post(requests[i]) for i in asked])
        for i, reply in zip(asked, replies, strict=True):
            answers[i] = reply
        return [answer for answer in answers if answer is not None]

    def _post(self, request: ChatRequest) -> Post:
        tokens = estimated_tokens(request, self._config.sampling.max_new_tokens)
        return Post(partial(self.body, request), tokens, request.seed)

    def body(self, request: ChatRequest) -> dict[str, Any]:
        """What is sent for `request`."""
        config, sampling = self._config, self._config.sampling
        return {
            "model": config.model,
            "messages": messages_of(request, config.image_format),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            config.max_tokens_field: sampling.max_new_tokens,
            **({"seed": request.seed & (2**63 - 1)} if config.send_seed else {}),  # servers' seeds are int64
            **constraint_fields(config.constraint, config.choices),
            **config.extra_body,
        }

    def _refusal(self, request: ChatRequest) -> Fault | None:
        allowed = self._config.images_per_prompt
        images = [turn.image for turn in request.turns if turn.image is not None]
        if len(images) > allowed:
            return Fault(
                "too_many_images",
                f"{len(images)} images in one conversation, {self.id} was set up for {allowed}; set images_per_prompt",
            )
        return next((Fault("bad_image", problem) for problem in map(image_problem, images) if problem), None)
