"""One vLLM engine and the thread that owns its event loop.

Callers block in `answer`; their requests all meet in the one engine, so that it never runs dry between two calls.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import threading
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Literal, TypeVar

from negscale.backends.vllm_guard import Guard
from negscale.backends.vllm_install import HELP
from negscale.core.backend import Reply
from negscale.core.errors import ConfigError, FatalError, IllModelError
from negscale.core.stage import Fault

GIB = 1 << 30
_PATIENCE_S = 5.0
_T = TypeVar("_T")
Messages = Sequence[Mapping[str, Any]]


class VllmService:
    """Starts the engine on construction; `answer` may be called from any number of threads."""

    def __init__(self, model: str, arguments: Mapping[str, Any], window: int) -> None:
        self._model = model
        self._numbers = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm-engine", daemon=True)
        self._thread.start()
        self._closed = False
        self._calls: set[asyncio.Task[Any]] = set()  # touched by the loop's thread alone
        self._guard = Guard()
        try:
            self._engine = self._wait(self._start(arguments, window))
            self._guard.settled()
        except BaseException:
            self._stop_loop()
            self._guard.close()
            raise

    def answer(
        self,
        conversations: Sequence[Messages],
        seeds: Sequence[int],
        sampling: Mapping[str, Any],
        choices: Sequence[str],
    ) -> list[Reply | Fault]:
        """One reply per conversation, in order. Raises FatalError when the engine is dead or closed."""
        if self._closed:
            raise FatalError(f"vLLM engine of {self._model} was closed")
        jobs = list(zip(conversations, seeds, strict=True))
        results = self._wait(self._answer_all(jobs, sampling, tuple(choices)))
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if not isinstance(result, BaseException)]

    def close(self) -> None:
        """End the engine's processes; calls that still wait get a FatalError."""
        if not self._closed:
            self._closed = True
            self._wait(self._shut_down())
            self._stop_loop()
            self._guard.close()

    def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # an interrupted caller must not leave its requests in the engine
            raise

    def _stop_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self, arguments: Mapping[str, Any], window: int) -> Any:
        os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")  # nothing about a run leaves the machine
        os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")  # a worker has threads: fork may hang
        try:
            from vllm.engine.arg_utils import AsyncEngineArgs
            from vllm.exceptions import VLLMError
            from vllm.renderers import ChatParams, renderer_from_config
            from vllm.v1.engine.async_llm import AsyncLLM
        except ImportError as error:
            raise ConfigError(f"the installed vLLM does not load ({error}); {HELP}") from error
        self._chat = ChatParams(chat_template_kwargs={"add_generation_prompt": True, "tokenize": False})
        try:
            config = AsyncEngineArgs(**arguments).create_engine_config()
            renderer = renderer_from_config(config)
        except (OSError, ValueError, VLLMError) as error:
            raise ConfigError(_unusable(self._model, arguments["model"], error)) from error
        if arguments["limit_mm_per_prompt"]["image"] and not config.model_config.is_multimodal_model:
            raise ConfigError(f"model {self._model} takes no images; set images_per_prompt=0 or use a multimodal one")
        try:
            await self._render([{"role": "user", "content": "hello"}], renderer)
        except (ValueError, VLLMError) as error:
            raise ConfigError(
                f"model {self._model} has no chat template that works: {error}. Use an instruct model"
            ) from error
        finally:
            renderer.shutdown()
        try:
            engine = AsyncLLM.from_vllm_config(config, disable_log_stats=True)
        except (RuntimeError, ValueError, OSError, MemoryError) as error:
            raise IllModelError(
                f"vLLM could not start {self._model}: {error}. Its own log above names the cause; most often the model "
                f"does not fit: lower max_model_len or gpu_memory_utilization, or raise tensor_parallel_size."
            ) from error
        self._window = asyncio.Semaphore(window)
        return engine

    async def _shut_down(self) -> None:
        for call in self._calls:
            call.cancel()
        if self._calls:  # the engine still lives, so that it can take back their requests
            await asyncio.wait(self._calls, timeout=_PATIENCE_S)
        self._engine.shutdown()

    async def _answer_all(
        self, jobs: Sequence[tuple[Messages, int]], sampling: Mapping[str, Any], choices: tuple[str, ...]
    ) -> list[Reply | Fault | BaseException]:
        call = asyncio.current_task()
        assert call is not None
        if self._closed:  # between the caller's look and now
            raise FatalError(f"vLLM engine of {self._model} was closed")
        self._calls.add(call)
        try:
            work = (self._answer(messages, seed, sampling, choices) for messages, seed in jobs)
            return await asyncio.gather(*work, return_exceptions=True)
        except asyncio.CancelledError:
            raise FatalError(f"vLLM engine of {self._model} was closed with requests in it") from None
        finally:
            self._calls.discard(call)

    async def _answer(
        self, messages: Messages, seed: int, sampling: Mapping[str, Any], choices: tuple[str, ...]
    ) -> Reply | Fault:
        from vllm.exceptions import VLLMClientError
        from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

        async with self._window:
            try:
                prompt = await self._render(messages, self._engine.renderer)
            except (VLLMClientError, ValueError) as error:  # ValueError: an image that the processor does not take
                return _refused(error)
            stream = self._engine.generate(prompt, _params(seed, sampling, choices), f"negscale-{next(self._numbers)}")
            try:
                output = await anext(stream)  # FINAL_ONLY: the first output is the last
                await stream.aclose()
            except VLLMClientError as error:
                return _refused(error)
            except EngineDeadError as error:
                raise FatalError(f"vLLM engine of {self._model} died; its own log above names the cause") from error
            except EngineGenerateError as error:
                return Fault("engine_error", f"vLLM could not answer: {error.__cause__!r}", retryable=True)
        return _reply(output)

    async def _render(self, messages: Messages, renderer: Any) -> Any:
        # the template writes the begin-of-text token itself
        tokens = renderer.default_chat_tok_params.with_kwargs(add_special_tokens=False)
        _, (prompt,) = await renderer.render_chat_async([list(messages)], self._chat, tokens)
        return prompt


def _params(seed: int, sampling: Mapping[str, Any], choices: tuple[str, ...]) -> Any:
    from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

    constraint = StructuredOutputsParams(choice=list(choices)) if choices else None
    return SamplingParams(
        seed=seed & (2**63 - 1),  # the engine's seeds are int64, and -1 would mean none
        output_kind=RequestOutputKind.FINAL_ONLY,
        structured_outputs=constraint,
        **sampling,
    )


def _reply(output: Any) -> Reply | Fault:
    answer = output.outputs[0]
    finish: Literal["stop", "length"]
    match answer.finish_reason:
        case "stop" | "length":
            finish = answer.finish_reason
        case reason:
            return Fault("engine_error", f"vLLM ended the answer with {reason!r}", retryable=True)
    return Reply(answer.text, finish, len(output.prompt_token_ids), len(answer.token_ids))


def _refused(error: Exception) -> Fault:
    text = str(error)
    too_long = getattr(error, "parameter", None) in ("input_tokens", "input_text") or "maximum model length" in text
    return Fault("prompt_too_long" if too_long else "prompt_refused", text)


def _unusable(model: str, place: str, error: Exception) -> str:
    where = f"the folder {place!r}" if place != model else "the hub"
    return (
        f"vLLM cannot use model {model} from {where}: {error}. When access is restricted, accept the licence on the "
        f"model's page and set HF_TOKEN; behind a mirror set HF_ENDPOINT; without a network set `path` to a local folder."
    )
