"""One CLIP in the two ways of writing it: OpenAI's names (which open_clip kept) and those of transformers.

Only vision transformers with CLIP's own text transformer; whatever else is refused by name, never written half.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from negscale.core.errors import ConfigError

_PAIRS = (  # OpenAI, transformers
    ("logit_scale", "logit_scale"),
    ("token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
    ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
    ("ln_final", "text_model.final_layer_norm"),
    ("visual.class_embedding", "vision_model.embeddings.class_embedding"),
    ("visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"),
    ("visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
    ("visual.ln_pre", "vision_model.pre_layrnorm"),
    ("visual.ln_post", "vision_model.post_layernorm"),
)
_TRANSPOSED = (("text_projection", "text_projection.weight"), ("visual.proj", "visual_projection.weight"))
_TOWERS = (
    ("transformer.resblocks", "text_model.encoder.layers"),
    ("visual.transformer.resblocks", "vision_model.encoder.layers"),
)
_BLOCK = (
    ("attn.out_proj", "self_attn.out_proj"), ("ln_1", "layer_norm1"), ("ln_2", "layer_norm2"),
    ("mlp.c_fc", "mlp.fc1"), ("mlp.c_proj", "mlp.fc2"),
)  # fmt: skip
_QKV = ("q_proj", "k_proj", "v_proj")


def to_transformers(openai: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """OpenAI's names to those of `CLIPModel`. Raises ConfigError naming a tensor that has no counterpart."""
    found: dict[str, Tensor] = {}
    for name, tensor in openai.items():
        if match := re.fullmatch(r"(.*resblocks)\.(\d+)\.attn\.in_proj_(weight|bias)", name):
            tower = dict(_TOWERS)[match[1]]
            for part, piece in zip(_QKV, tensor.chunk(3), strict=True):
                found[f"{tower}.{match[2]}.self_attn.{part}.{match[3]}"] = piece
        elif name in dict(_TRANSPOSED):
            found[dict(_TRANSPOSED)[name]] = tensor.T
        else:
            found[_renamed(name, 0)] = tensor
    return {name: tensor.contiguous() for name, tensor in found.items()}


def to_openai(transformers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Names of `CLIPModel` to OpenAI's. Raises ConfigError naming a tensor that has no counterpart."""
    found: dict[str, Tensor] = {}
    back = {new: old for old, new in _TRANSPOSED}
    towers = {new: old for old, new in _TOWERS}
    for name, tensor in transformers.items():
        if name.endswith("position_ids"):  # older files hold the numbers 0, 1, 2, ...
            continue
        if match := re.fullmatch(r"(.*layers)\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", name):
            if match[3] == "q":
                parts = [transformers[name.replace("q_proj", part)] for part in _QKV]
                found[f"{towers[match[1]]}.{match[2]}.attn.in_proj_{match[4]}"] = torch.cat(parts)
        elif name in back:
            found[back[name]] = tensor.T
        else:
            found[_renamed(name, 1)] = tensor
    return {name: tensor.contiguous() for name, tensor in found.items()}


def _renamed(name: str, side: int) -> str:
    for pair in _PAIRS:
        here, there = pair[side], pair[1 - side]
        if name == here or name.startswith(here + "."):
            return there + name[len(here) :]
    for pair in _TOWERS:
        here, there = pair[side], pair[1 - side]
        if match := re.fullmatch(rf"{re.escape(here)}\.(\d+)\.(.+)", name):
            for block in _BLOCK:
                if match[2].startswith(block[side] + "."):
                    return f"{there}.{match[1]}.{block[1 - side]}{match[2][len(block[side]) :]}"
    raise ConfigError(
        f"tensor {name!r} has no counterpart in the other layout; expected CLIP with a vision transformer and no extras"
    )


def transformers_config(model: Any, end_token: int) -> dict[str, Any]:
    """The `CLIPConfig` (as keywords) of an open_clip model. Raises ConfigError for what transformers cannot express."""
    visual, text = model.visual, model.transformer
    if not hasattr(visual, "conv1") or not hasattr(visual, "class_embedding"):
        raise ConfigError(f"image tower {type(visual).__name__}: expected CLIP's vision transformer (ViT)")
    if getattr(visual, "pool_type", "tok") != "tok" or getattr(visual, "attn_pool", None) is not None:
        raise ConfigError("image tower: expected one that is read at its class token")
    patch, size = visual.patch_size, visual.image_size
    projection = model.text_projection.shape[1]
    return {
        "projection_dim": int(projection),
        "text_config": {
            **_tower(text), "vocab_size": int(model.token_embedding.num_embeddings), "projection_dim": int(projection),
            "max_position_embeddings": int(model.positional_embedding.shape[0]),
            "eos_token_id": int(end_token), "bos_token_id": int(end_token) - 1, "pad_token_id": int(end_token),
        },
        "vision_config": {
            **_tower(visual.transformer), "image_size": _side(size), "patch_size": _side(patch),
            "projection_dim": int(projection),
        },
    }  # fmt: skip


def _tower(transformer: Any) -> dict[str, Any]:
    block = transformer.resblocks[0]
    act = type(block.mlp.gelu).__name__
    known = {"QuickGELU": "quick_gelu", "GELU": "gelu"}
    if act not in known:
        raise ConfigError(f"activation {act}: expected one of {sorted(known)}")
    return {
        "hidden_size": int(transformer.width), "num_hidden_layers": len(transformer.resblocks),
        "num_attention_heads": int(block.attn.num_heads), "intermediate_size": int(block.mlp.c_fc.out_features),
        "hidden_act": known[act], "layer_norm_eps": float(block.ln_1.eps),
    }  # fmt: skip


def open_clip_config(config: Any) -> dict[str, Any]:
    """The `model_cfg` of open_clip for a transformers `CLIPConfig`. Raises ConfigError for what open_clip cannot express."""
    text, vision = config.text_config, config.vision_config
    acts = {text.hidden_act, vision.hidden_act}
    if len(acts) > 1 or not acts <= {"quick_gelu", "gelu"}:
        raise ConfigError(f"activations {sorted(acts)}: open_clip has quick_gelu or gelu for both towers")
    if text.layer_norm_eps != 1e-5 or vision.layer_norm_eps != 1e-5:
        raise ConfigError("layer norms with another eps than 1e-5 cannot be written for open_clip")
    # transformers reads the text at its highest token when the config says 2 (a mistake of old configs that it keeps)
    legacy = text.eos_token_id in (2, text.vocab_size - 1)
    pool = {} if legacy else {"pool_type": "eos", "eos_id": int(text.eos_token_id)}
    return {
        "embed_dim": int(config.projection_dim), "quick_gelu": acts == {"quick_gelu"},
        "vision_cfg": {
            "image_size": vision.image_size, "patch_size": vision.patch_size, "layers": vision.num_hidden_layers,
            "width": vision.hidden_size, "head_width": vision.hidden_size // vision.num_attention_heads,
            "mlp_ratio": vision.intermediate_size / vision.hidden_size,
        },
        "text_cfg": {
            "context_length": text.max_position_embeddings, "vocab_size": text.vocab_size, "width": text.hidden_size,
            "heads": text.num_attention_heads, "layers": text.num_hidden_layers,
            "mlp_ratio": text.intermediate_size / text.hidden_size, **pool,
        },
    }  # fmt: skip


def check_openai(config: Mapping[str, Any]) -> None:
    """Raise ConfigError where OpenAI's `build_model` would make another model of the tensors: it reads sizes off them and
    assumes heads of 64, QuickGELU, hidden layers of four times the width, and the text read at its highest token."""
    text, vision = config["text_cfg"], config["vision_cfg"]
    wrong = []
    if not config["quick_gelu"]:
        wrong.append("activation GELU instead of QuickGELU")
    if text["width"] != 64 * text["heads"] or vision["head_width"] != 64:
        wrong.append("attention heads of another width than 64")
    if text["mlp_ratio"] != 4 or vision["mlp_ratio"] != 4:
        wrong.append("hidden layers of another size than four times the width")
    if text.get("pool_type", "argmax") != "argmax":
        wrong.append("texts read elsewhere than at their highest token")
    if wrong:
        raise ConfigError(
            f"OpenAI's clip cannot rebuild this model from its tensors: {'; '.join(wrong)}; export to open_clip"
        )


def _side(size: Any) -> int:
    both = size if isinstance(size, (tuple, list)) else (size, size)
    if both[0] != both[1]:
        raise ConfigError(f"image or patch size {tuple(both)}: expected a square")
    return int(both[0])
