"""The chat-completions format: what goes out, what comes back, what servers mean by their errors."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from negscale.backends.http_client import TRANSIENT, Answer
from negscale.core.backend import ChatRequest, Reply, Turn
from negscale.core.errors import FatalError
from negscale.core.image import encode
from negscale.core.stage import Fault

ImageFormat = Literal["png", "jpeg"]
Constraint = Literal["structured_outputs", "guided_choice", "regex", "tgi_regex", "json_schema"]
IMAGE_TOKENS = 1000  # a guess for the pace; corrected by the server's count
_CHARACTERS_PER_TOKEN = 4
_LONG = (
    "context_length", "context length", "maximum context", "max_model_len", "maximum model length", "too many tokens",
    "prompt is too long", "input is too long", "`inputs` must have less", "string_above_max_length",
)  # fmt: skip


def messages_of(request: ChatRequest, image_format: ImageFormat) -> list[dict[str, Any]]:
    """The request's turns; an image goes before the text of its turn, as a data: URL."""
    return [{"role": turn.role, "content": _content(turn, image_format)} for turn in request.turns]


def _content(turn: Turn, image_format: ImageFormat) -> str | list[dict[str, Any]]:
    if turn.image is None:
        return turn.text
    data = base64.b64encode(encode(turn.image, image_format)).decode()
    picture = {"type": "image_url", "image_url": {"url": f"data:image/{image_format};base64,{data}"}}
    return [picture, {"type": "text", "text": turn.text}]


def estimated_tokens(request: ChatRequest, max_new_tokens: int) -> int:
    """Tokens that a request may take, for a rate limit that counts them in advance."""
    text = sum(len(turn.text) for turn in request.turns) // _CHARACTERS_PER_TOKEN
    return text + IMAGE_TOKENS * sum(turn.image is not None for turn in request.turns) + max_new_tokens


def constraint_fields(kind: Constraint, choices: Sequence[str]) -> dict[str, Any]:
    """Body fields that make the server answer with one of `choices`; servers call this by different names."""
    if not choices:
        return {}
    match kind:
        case "structured_outputs":  # vLLM from 0.12 on
            return {"structured_outputs": {"choice": list(choices)}}
        case "guided_choice":  # older vLLM
            return {"guided_choice": list(choices)}
        case "regex":  # SGLang
            return {"regex": _one_of(choices)}
        case "tgi_regex":
            return {"response_format": {"type": "regex", "value": _one_of(choices)}}
        case "json_schema":  # OpenAI; the answer is an object, see `reply_of`
            schema = {
                "type": "object", "properties": {"answer": {"type": "string", "enum": list(choices)}},
                "required": ["answer"], "additionalProperties": False,
            }  # fmt: skip
            return {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "answer", "strict": True, "schema": schema},
                }
            }


def _one_of(choices: Sequence[str]) -> str:
    special = "\\.^$*+?()[]{}|"
    return "(" + "|".join("".join(f"\\{c}" if c in special else c for c in choice) for choice in choices) + ")"


def reply_of(
    status: int, body: Any, text: str, *, unwrap: bool, model: str, key_variable: str
) -> Answer | Fault | None:
    """The Reply in a response, or what is wrong with the request; None when another attempt may help.

    unwrap: the answer is the JSON object of the `json_schema` constraint. Raises FatalError for what concerns every
    request: a refused key, an unknown model, an exhausted account.
    """
    if status != 200:
        return _refused(status, body, text, model, key_variable)
    try:
        choice = body["choices"][0]
        said, finish = choice["message"], choice["finish_reason"]
        content = said["content"] if said.get("content") is not None else ""
        if not isinstance(content, str):
            content = "".join(part["text"] for part in content if part.get("type") == "text")
        usage = body.get("usage") or {}
        prompt, completion = int(usage.get("prompt_tokens") or 0), int(usage.get("completion_tokens") or 0)
        refusal = said.get("refusal")
    except (KeyError, IndexError, TypeError, ValueError, AttributeError):
        return None
    tokens = prompt + completion if usage else None
    if finish == "content_filter":
        return Fault("content_filter", f"the server's content filter stopped the answer: {content[:200]!r}")
    if refusal:
        return Answer(Fault("refusal", f"the model refused: {str(refusal)[:200]!r}", retryable=True), tokens)
    if finish in ("stop", "eos_token", "stop_sequence"):  # the latter two: TGI
        return Answer(Reply(_unwrapped(content) if unwrap else content, "stop", prompt, completion), tokens)
    if finish == "length":
        return Answer(Reply(content, "length", prompt, completion), tokens)
    return None  # tool calls nobody offered, "abort", "error", null


def _unwrapped(content: str) -> str:
    try:
        return str(json.loads(content)["answer"])
    except (ValueError, KeyError, TypeError):
        return content  # no object as asked: the parser of the role decides


def _refused(status: int, body: Any, text: str, model: str, key_variable: str) -> Fault | None:
    code, message = _error(body, text)
    known = f"{code} {message}".lower()
    if "insufficient_quota" in known or status == 402:
        raise FatalError(f"the account of the key in {key_variable} has no quota left: {message[:300]}")
    if status in TRANSIENT:
        return None
    if status == 401:
        raise FatalError(
            f"the server refuses the API key in the environment variable {key_variable!r} (HTTP 401: {message[:300]}); set "
            f"a valid key, or name another variable in chat.api_key_env"
        )
    if status == 403:
        raise FatalError(
            f"the server forbids model {model!r} to the key in {key_variable!r} (HTTP 403: {message[:300]}); ask for access, "
            f"or use another key or model"
        )
    if status in (404, 405):
        raise FatalError(
            f"HTTP {status} from the server: {message[:300]}. Either it does not serve model {model!r} (its /models lists "
            f"what it does), or chat.base_url is not the part before /chat/completions, e.g. http://localhost:8000/v1"
        )
    if "content_filter" in known or "content_policy" in known or "responsibleai" in known:
        return Fault("content_filter", f"the server's content filter refused the request: {message[:300]}")
    if status == 413 or any(word in known for word in _LONG):
        return Fault("prompt_too_long", f"HTTP {status}: {message[:300]}")
    return Fault("prompt_refused", f"HTTP {status}: {message[:300]}")


def _error(body: Any, text: str) -> tuple[str, str]:
    """(code, message) of an error body; servers nest them differently."""
    inner = body.get("error", body) if isinstance(body, Mapping) else text
    if isinstance(inner, Mapping):
        code = inner.get("code") or inner.get("type") or ""
        return str(code), str(inner.get("message") or inner.get("detail") or text)
    return "", str(inner)
