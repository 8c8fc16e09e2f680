"""A CLIP model of open_clip or transformers as the text encoder that trains, without its image tower.

The text encoder is causal and its output is read at one token, so that what follows that token is padding and nothing
else: batches are cut at their longest text instead of being computed to CLIP's 77 tokens. What differs from the released
loops: NegationCLIP runs the whole model on images and 77 tokens at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from negscale.core.errors import ConfigError

Layout = Literal["open_clip", "transformers"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Texts as the model reads them: int64[T, L], framed and padded, L the longest of them; how many were cut."""

    ids_TL: Tensor
    truncated: int


class Tokenizer(Protocol):
    """Texts to tokens; what is longer than the model's context is cut there and counted."""

    def __call__(self, texts: Sequence[str]) -> Tokens: ...


class TextEncoder(nn.Module):
    """`forward` gives unit vectors [T, D] of tokens [T, L] and the factor of the logits, exp(logit_scale).

    The parameters keep the names that they have in the model (`state`), so that checkpoints fit it.
    """

    def __init__(self, model: Any) -> None:
        """Takes a CLIP of open_clip or transformers over and cuts its image tower off. Raises ConfigError for others."""
        super().__init__()
        self.layout: Layout = layout_of(model)
        if self.layout == "transformers":
            model.vision_model, model.visual_projection = nn.Identity(), nn.Identity()
        else:
            model.visual = nn.Identity()
        self.model = model

    def forward(self, ids_TL: Tensor) -> tuple[Tensor, Tensor]:
        features = self._transformers(ids_TL) if self.layout == "transformers" else self._open_clip(ids_TL)
        wide = features if features.dtype == torch.float64 else features.float()  # norms and softmax never in 16 bits
        return F.normalize(wide, dim=-1), self.model.logit_scale.exp()

    def _transformers(self, ids_TL: Tensor) -> Tensor:
        found = self.model.get_text_features(input_ids=ids_TL)
        return found if isinstance(found, Tensor) else found.pooler_output

    def _open_clip(self, ids_TL: Tensor) -> Tensor:
        model = self.model
        length = ids_TL.shape[1]
        dtype = model.transformer.get_cast_dtype()
        x = model.token_embedding(ids_TL).to(dtype) + model.positional_embedding[:length].to(dtype)
        x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
        at = ids_TL.argmax(1) if model.text_pool_type == "argmax" else (ids_TL == model.text_eos_id).int().argmax(1)
        x = x[torch.arange(len(x), device=x.device), at]
        project = model.text_projection
        return project(x) if isinstance(project, nn.Linear) else x @ project

    def state(self) -> dict[str, nn.Parameter]:
        """All parameters by their names in the model."""
        return dict(self.model.named_parameters())

    def trainable(self) -> dict[str, nn.Parameter]:
        """Those that train."""
        return {name: parameter for name, parameter in self.state().items() if parameter.requires_grad}


def layout_of(model: Any) -> Layout:
    """Whose names and calls a CLIP model has. Raises ConfigError when its text is not read at one token."""
    if hasattr(model, "text_model") and hasattr(model, "get_text_features"):
        if getattr(model.config, "model_type", "") != "clip":
            raise ConfigError(
                f"model of type {model.config.model_type!r}: expected a CLIP with a causal text encoder (clip)"
            )
        return "transformers"
    if not hasattr(model, "token_embedding") or getattr(model, "text_pool_type", "") not in ("argmax", "eos"):
        raise ConfigError(
            f"{type(model).__name__}: expected open_clip's CLIP with its own causal text transformer; load models with other "
            f"text towers through transformers (kind hf_dual_encoder)"
        )
    return "open_clip"


class OpenClipTokenizer:
    """CLIP's own byte-pair encoding as open_clip has it, which cuts in silence; here the cut texts are counted."""

    def __init__(self, tokenizer: Any, context_length: int) -> None:
        """Raises ConfigError for another tokenizer of open_clip's."""
        if not (hasattr(tokenizer, "encode") and hasattr(tokenizer, "eot_token_id")):
            raise ConfigError(
                f"tokenizer {type(tokenizer).__name__}: expected CLIP's byte-pair encoding; load models with other "
                f"tokenizers through transformers (kind hf_dual_encoder)"
            )
        self._tokenizer, self._length = tokenizer, context_length

    def __call__(self, texts: Sequence[str]) -> Tokens:
        begin, end = self._tokenizer.sot_token_id, self._tokenizer.eot_token_id
        return _framed([self._tokenizer.encode(text) for text in texts], begin, end, 0, self._length)


class TransformersTokenizer:
    """A tokenizer of transformers, padded to the longest text."""

    def __init__(self, tokenizer: Any, context_length: int) -> None:
        self._tokenizer = tokenizer
        self._length = min(context_length, int(tokenizer.model_max_length))
        self._pad = int(tokenizer.pad_token_id or 0)

    def __call__(self, texts: Sequence[str]) -> Tokens:
        framed: list[list[int]] = self._tokenizer(list(texts), truncation=False)["input_ids"]
        long = [i for i, ids in enumerate(framed) if len(ids) > self._length]
        for i in long:  # the library knows how to cut between its own marks
            framed[i] = self._tokenizer(texts[i], truncation=True, max_length=self._length)["input_ids"]
        return Tokens(_padded(framed, self._pad), len(long))


def _framed(texts: Sequence[list[int]], begin: int, end: int, pad: int, length: int) -> Tokens:
    kept = [[begin, *ids[: length - 2], end] for ids in texts]
    return Tokens(_padded(kept, pad), sum(len(ids) > length - 2 for ids in texts))


def _padded(texts: Sequence[list[int]], pad: int) -> Tensor:
    longest = max(map(len, texts), default=0)
    return torch.tensor([[*ids, *[pad] * (longest - len(ids))] for ids in texts], dtype=torch.int64)
