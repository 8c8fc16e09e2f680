"""The tiny models through plain transformers: ChatModel for measuring them, and the yardstick that vLLM is held to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from negscale.core.backend import ChatRequest, Reply
from negscale.core.errors import FatalError
from negscale.core.stage import Fault
from negscale.tiny_models.tokens import messages


class TransformersChat:
    """`generate` of transformers over batches of `batch` requests; with temperature 0 the likeliest token each time."""

    exact = False  # draws come from one generator, in the order of the calls

    def __init__(
        self, folder: Path, accepts_images: bool = False, temperature: float = 0.0, batch: int = 32, max_new_tokens: int = 48,
        seed: int = 0,
    ) -> None:  # fmt: skip
        self.accepts_images = accepts_images
        self._folder, self._batch, self._seed, self._model = folder, batch, seed, None
        self._sampling: dict[str, Any] = {"max_new_tokens": max_new_tokens, "do_sample": temperature > 0}
        if temperature > 0:
            self._sampling |= {"temperature": temperature, "top_p": 1.0, "top_k": 0}

    @property
    def id(self) -> str:
        return f"transformers/{self._folder.name}"

    def load(self) -> None:
        """Tokenizer and weights; draws start anew."""
        import torch
        import transformers

        load = transformers.AutoProcessor if self.accepts_images else transformers.AutoTokenizer
        kind = transformers.LlavaForConditionalGeneration if self.accepts_images else transformers.AutoModelForCausalLM
        self._reader: Any = load.from_pretrained(self._folder)
        self._model: Any = kind.from_pretrained(self._folder, dtype="auto").eval()
        torch.manual_seed(self._seed)

    def close(self) -> None:
        self._model = None

    def generate(self, requests: Sequence[ChatRequest]) -> list[Reply | Fault]:
        """One reply per request, in order."""
        if self._model is None:
            raise FatalError(f"{self.id}: generate() on a model that is not loaded; call load() first")
        at = range(0, len(requests), self._batch)
        return [reply for start in at for reply in self._answer(requests[start : start + self._batch])]

    def _answer(self, requests: Sequence[ChatRequest]) -> list[Reply | Fault]:
        import torch

        tokenizer = getattr(self._reader, "tokenizer", self._reader)
        texts = [
            tokenizer.apply_chat_template(messages(request.turns), add_generation_prompt=True, tokenize=False)
            for request in requests
        ]
        images = [turn.image for request in requests for turn in request.turns if turn.image is not None]
        more = {"images": images} if self.accepts_images and images else {}
        inputs = self._reader(text=texts, return_tensors="pt", padding=True, add_special_tokens=False, **more)
        with torch.inference_mode():
            given = {k: v for k, v in inputs.items() if k in ("input_ids", "attention_mask", "pixel_values")}
            output = self._model.generate(**given, pad_token_id=tokenizer.pad_token_id, **self._sampling)
        width = given["input_ids"].shape[1]
        return [
            _reply(tokenizer, ids[width:].tolist(), int(mask.sum()))
            for ids, mask in zip(output, given["attention_mask"], strict=True)
        ]


def _reply(tokenizer: Any, ids: list[int], prompt_tokens: int) -> Reply:
    ended = tokenizer.eos_token_id in ids
    said = ids[: ids.index(tokenizer.eos_token_id)] if ended else ids
    return Reply(
        tokenizer.decode(said, skip_special_tokens=True), "stop" if ended else "length", prompt_tokens, len(said)
    )
