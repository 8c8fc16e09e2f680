"""Small random CLIP models in both layouts; the open_clip one is a ViT-B/32 with smaller numbers and CLIP's tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from negscale.backends.dual_encoders import HfDualEncoderConfig, OpenClipEncoderConfig
from negscale.models.weights import to_bytes
from negscale.tiny_models.files import folder_of

TINY = HfDualEncoderConfig(model="tiny", path=str(folder_of("encoder")))


def open_clip_cfg(quick_gelu: bool = True) -> dict[str, Any]:
    return {
        "embed_dim": 32, "quick_gelu": quick_gelu,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2},
    }  # fmt: skip


def small_open_clip(seed: int = 0, quick_gelu: bool = True) -> Any:
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    torch.manual_seed(seed)
    cfg = open_clip_cfg(quick_gelu)
    model = CLIP(
        cfg["embed_dim"], CLIPVisionCfg(**cfg["vision_cfg"]), CLIPTextCfg(**cfg["text_cfg"]), quick_gelu=quick_gelu
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if (
                parameter.ndim < 2 and name != "logit_scale"
            ):  # biases and norms start at 0 and 1: nothing to confuse there
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval()


def small_clip(seed: int = 0, eos: int = 199, act: str = "quick_gelu") -> Any:
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(seed)
    tower = {
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_attention_heads": 1,
        "num_hidden_layers": 2,
        "hidden_act": act,
    }
    text = {
        **tower,
        "vocab_size": 200,
        "max_position_embeddings": 20,
        "eos_token_id": eos,
        "bos_token_id": 198,
        "pad_token_id": 0,
    }
    vision = {**tower, "image_size": 64, "patch_size": 32}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=32))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def open_clip_folder(folder: Path) -> OpenClipEncoderConfig:
    """The small model as a folder of open_clip's, and the config that loads it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_model.safetensors").write_bytes(to_bytes(small_open_clip().state_dict()))
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": open_clip_cfg(), "preprocess_cfg": {}}))
    return OpenClipEncoderConfig(model=f"local-dir:{folder}", pretrained="made")
