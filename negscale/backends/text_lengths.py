"""Texts at their own length: open_clip's text towers without the padding that they compute and throw away.

CLIP (arXiv 2103.00020) pads every text to 77 tokens and reads its vector off the end-of-text token; under the causal mask
no token sees a later one, so that the tokens behind it change nothing. open_clip computes them all the same. What differs:
a batch is cut at its longest end of text, rounded up to whole blocks of tokens so that matrix kernels sum as they do over
the padded text, and a batch of like lengths is made first.
Towers that look both ways (SigLIP) or append a class token (CoCa) are left as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

# Lengths in whole blocks leave a CPU's matrix kernels no remainder that they would sum in another order: measured on
# ViT-B/32's tower in float32, 16 to 64 tokens give the padded text's vectors to the last bit, 20 and 24 do not.
_BLOCK = 16


def causal_tower(model: Any) -> Any:
    """The part of an open_clip model that encodes texts when it may be cut at the end of text; None when it may not."""
    from open_clip.model import CLIP
    from open_clip.transformer import TextTransformer

    tower = model if isinstance(model, CLIP) else getattr(model, "text", None)
    if not isinstance(tower, (CLIP, TextTransformer)):
        return None
    pool, _ = _pooling(tower)
    plain = getattr(tower, "cls_emb", None) is None and not getattr(tower, "output_tokens", False)
    return tower if plain and tower.attn_mask is not None and pool in ("argmax", "eos") else None


def ends_of_text(tower: Any, tokens: Any) -> Any:
    """int64[N]: where each row of tokens int64[N, L] has its end of text, as the tower's pooling finds it."""
    pool, end = _pooling(tower)
    return tokens.argmax(dim=-1) if pool == "argmax" else (tokens == end).int().argmax(dim=-1)


def encode_cut(tower: Any, tokens: Any) -> Any:
    """float[N, D] vectors of tokens int64[N, L], not normalised, computed up to the longest end of text only (in whole blocks).

    tower: what `causal_tower` gave.
    """
    import torch

    ends = ends_of_text(tower, tokens)
    length = min(-(-(int(ends.max()) + 1) // _BLOCK) * _BLOCK, tokens.shape[1])
    cast = tower.transformer.get_cast_dtype()
    x = tower.token_embedding(tokens[:, :length]).to(cast) + tower.positional_embedding[:length].to(cast)
    x = tower.transformer(x, attn_mask=tower.attn_mask[:length, :length])
    x = tower.ln_final(
        x[torch.arange(len(x), device=x.device), ends]
    )  # of each row alone, so the order does not matter
    projection = tower.text_projection
    if projection is None:
        return x
    return projection(x) if isinstance(projection, torch.nn.Module) else x @ projection


def token_counts(tokenizer: Any, texts: Sequence[str]) -> list[int]:
    """Tokens of each text before any is cut, begin and end included. tokenizer: one of open_clip's."""
    inner = getattr(tokenizer, "tokenizer", None)
    if inner is not None:
        return [len(ids) for ids in inner(list(texts), truncation=False)["input_ids"]]
    return [len(tokenizer.encode(text)) + 2 for text in texts]


def _pooling(tower: Any) -> tuple[str, Any]:
    if hasattr(tower, "text_pool_type"):
        return tower.text_pool_type, getattr(tower, "text_eos_id", None)
    return tower.pool_type, getattr(tower, "eos_id", None)
