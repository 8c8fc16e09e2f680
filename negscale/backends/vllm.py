"""Chat models served by vLLM: text LLMs (Llama-3.x) and multimodal ones (LLaVA-NeXT, Qwen-VL).

What NegationCLIP uses for its proposer, verifier and negater (arXiv 2501.10913, section 3.1; parkquasar/NegationCLIP,
src/data_generation.py). What differs: the authors call `transformers.generate` row by row; here requests of many shards
share one engine that batches them as it goes, each with its own seed, and the prompt is always the model's own chat
template (the authors wrap LLaVA's question by hand). Importing this module loads nothing heavy.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from negscale.backends.vllm_install import check_installed, is_cpu_build, weights_digest
from negscale.backends.vllm_prompt import image_problem, messages_of
from negscale.backends.vllm_service import GIB, VllmService
from negscale.core.backend import ChatRequest, Reply
from negscale.core.config import Config, Location
from negscale.core.errors import FatalError
from negscale.core.stage import Fault, Resources


class Sampling(Config):
    """How an answer is drawn. The defaults are NegationCLIP's for its LLM."""

    temperature: float = Field(default=0.6, ge=0)
    """0 = the likeliest token each time."""
    top_p: float = Field(default=0.9, gt=0, le=1)
    max_new_tokens: int = Field(default=256, ge=1)


class VllmEngineConfig(Config):
    """How the engine uses the machine. Bears no identity."""

    bears_identity: ClassVar[bool] = False

    device: Literal["auto", "gpu", "cpu"] = "auto"
    """`auto` = GPU, unless the installed vLLM is the CPU build."""
    cpus: float = Field(default=1.0, gt=0)
    """CPU cores that a worker holds."""
    tensor_parallel_size: int = Field(default=1, ge=1)
    """GPUs over which one copy of the model is split."""
    gpu_memory_utilization: float = Field(default=0.9, gt=0, le=1)
    """Share of each GPU's memory that weights, activations and cache may take together."""
    cpu_cache_gb: float = Field(default=4.0, gt=0)
    """Memory of the key-value cache on the CPU build, in GiB."""
    max_num_seqs: int = Field(default=256, ge=1)
    """Answers generated at the same time."""
    enable_prefix_caching: bool = True
    """Prompts that begin alike (the system turn, the examples) are computed once."""
    enforce_eager: bool = False
    """No compiled graphs: starts faster, generates more slowly."""
    calls: int = Field(default=4, ge=1)
    """`generate` calls a worker runs at once, so that the engine never drains between shards."""
    batch_rows: int = Field(default=512, ge=1)
    """Requests of one `generate` call."""


class VllmChatConfig(Config):
    """A chat model that vLLM serves inside the worker."""

    kind: Literal["vllm_chat"] = "vllm_chat"
    model: str
    """The model's name on the hub, owner/name. Bears identity also when `path` says where the files are."""
    revision: str = "main"
    """Commit, tag or branch on the hub; a commit pins the weights."""
    path: Location = ""
    """Folder that holds the model's files, used instead of the hub; a digest of the files bears identity."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """`auto` = what the model's own config says."""
    max_model_len: int | None = Field(default=None, ge=16)
    """Prompt and answer together, in tokens; default: the model's own limit."""
    sampling: Sampling = Sampling()
    choices: tuple[str, ...] = ()
    """When given, the answer is one of these texts (constrained decoding), e.g. [yes, no]."""
    images_per_prompt: int = Field(default=0, ge=0)
    """Images that one conversation may hold; 0 = text only."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Only for models whose code you have read."""
    engine: VllmEngineConfig = VllmEngineConfig()

    @field_validator("model")
    @classmethod
    def _is_a_name(cls, model: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", model):
            raise ValueError("expected a name as on the hub, owner/name; the folder of a local model goes into `path`")
        return model

    @model_validator(mode="after")
    def _choices_differ(self) -> VllmChatConfig:
        if len(set(self.choices)) != len(self.choices) or "" in self.choices:
            raise ValueError(f"choices must be different, non-empty texts, got {list(self.choices)}")
        return self

    def content(self) -> dict[str, Any]:
        """A digest of the files at `path`; nothing when the weights come from the hub."""
        return {"files": weights_digest(self.path)} if self.path else {}

    def build(self) -> VllmChat:
        """The backend, not yet loaded."""
        return VllmChat(self)

    def resources(self) -> Resources:
        """GPUs of one copy of the model; several shards at once, so that the engine always has work."""
        engine = self.engine
        cpu = engine.device == "cpu" or (engine.device == "auto" and is_cpu_build())
        return Resources(
            cpus=engine.cpus,
            gpus=0.0 if cpu else float(engine.tensor_parallel_size),
            calls=engine.calls,
            batch_rows=engine.batch_rows,
        )

    def check(self) -> None:
        """Raise ConfigError when this machine cannot serve the model; loads nothing. For plan time."""
        check_installed(self.engine.device)
        self.content()


class VllmChat:
    """ChatModel over one vLLM engine. Thread-safe; the requests of concurrent calls are batched together."""

    exact = False  # a request's logits are rounded differently in another batch, and a close draw may flip

    def __init__(self, config: VllmChatConfig) -> None:
        self._config = config
        self.accepts_images = config.images_per_prompt > 0
        self._service: VllmService | None = None
        self._loading = threading.Lock()

    @property
    def id(self) -> str:
        """vllm/MODEL@REVISION, or vllm/MODEL@files-DIGEST for a model in a folder."""
        return self._id

    @cached_property
    def _id(self) -> str:
        config = self._config
        return f"vllm/{config.model}@{f'files-{weights_digest(config.path)}' if config.path else config.revision}"

    def load(self) -> None:
        """Start the engine and wait until it answers. Raises ConfigError (no vLLM, no access, no such model), IllModelError."""
        with self._loading:
            if self._service is None:
                self._config.check()
                self._service = VllmService(self._config.model, self._arguments(), self._window())

    def close(self) -> None:
        """Stop the engine's processes and free their memory; `load` may be called again."""
        with self._loading:
            service, self._service = self._service, None
            if service is not None:
                service.close()

    def generate(self, requests: Sequence[ChatRequest]) -> list[Reply | Fault]:
        """One reply per request, in order; blocks. Raises FatalError when the engine is dead or not loaded."""
        service = self._service
        if service is None:
            raise FatalError(f"{self.id}: generate() on a model that is not loaded, or was closed; call load() first")
        answers: list[Reply | Fault | None] = [self._refusal(request) for request in requests]
        asked = [i for i, answer in enumerate(answers) if answer is None]
        sampling = self._config.sampling
        replies = service.answer(
            [messages_of(requests[i]) for i in asked],
            [requests[i].seed for i in asked],
            {"temperature": sampling.temperature, "top_p": sampling.top_p, "max_tokens": sampling.max_new_tokens},
            self._config.choices,
        )
        for i, reply in zip(asked, replies, strict=True):
            answers[i] = reply
        return [answer for answer in answers if answer is not None]

    def _refusal(self, request: ChatRequest) -> Fault | None:
        allowed = self._config.images_per_prompt
        images = [turn.image for turn in request.turns if turn.image is not None]
        if len(images) > allowed:
            return Fault(
                "too_many_images",
                f"{len(images)} images in one conversation, {self.id} was loaded for {allowed}; set images_per_prompt",
            )
        return next((Fault("bad_image", problem) for problem in map(image_problem, images) if problem), None)

    def _window(self) -> int:
        # Enough that the engine always has a next request, few enough that prepared images do not fill the memory.
        running = self._config.engine.max_num_seqs
        return running + min(running, 64) if self.accepts_images else 2 * running

    def _arguments(self) -> dict[str, Any]:
        config, engine = self._config, self._config.engine
        cpu = is_cpu_build()
        return {
            "model": config.path or config.model,
            "revision": None if config.path else config.revision,
            "tokenizer_revision": None if config.path else config.revision,
            "dtype": config.dtype,
            "max_model_len": config.max_model_len,
            "trust_remote_code": config.trust_remote_code,
            "tensor_parallel_size": engine.tensor_parallel_size,
            "max_num_seqs": engine.max_num_seqs,
            "enable_prefix_caching": engine.enable_prefix_caching,
            "enforce_eager": engine.enforce_eager,
            "limit_mm_per_prompt": {"image": config.images_per_prompt, "video": 0, "audio": 0},
            # a prompt computed in pieces rewinds its seeded generator, which those of the CPU cannot: vLLM 0.32 dies of it
            **({"kv_cache_memory_bytes": int(engine.cpu_cache_gb * GIB), "enable_chunked_prefill": False} if cpu else
               {"gpu_memory_utilization": engine.gpu_memory_utilization}),
        }  # fmt: skip
