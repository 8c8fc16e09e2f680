"""The model that is trained: named by the same config as the encoder that evaluates it."""

from __future__ import annotations

from typing import Any

from negscale.backends.dual_encoders import EncoderConfig, HfDualEncoderConfig
from negscale.backends.hf_weights import check_library, unusable
from negscale.core.errors import ConfigError
from negscale.models.towers import OpenClipTokenizer, TextEncoder, Tokenizer, TransformersTokenizer


def load_model(config: EncoderConfig) -> tuple[Any, Any]:
    """A CLIP with both towers, float32 on the CPU, and the library's tokenizer. Raises ConfigError when it cannot be had."""
    check_library("torch")
    import torch

    if isinstance(config, HfDualEncoderConfig):
        check_library("transformers")
        import transformers

        config.need_type(("clip",), "text-encoder training")
        model: Any = config.load_with(transformers.CLIPModel.from_pretrained, dtype=torch.float32)
        return model, config.load_with(transformers.AutoTokenizer.from_pretrained)
    check_library("open_clip")
    import open_clip

    config.check_access()
    try:
        model = open_clip.create_model(
            config.model, pretrained=config.path or config.pretrained or None, precision="fp32", weights_only=True
        )
        return model, open_clip.get_tokenizer(config.model)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise ConfigError(unusable(config.model, config.path, error)) from error


def load_text_encoder(config: EncoderConfig) -> tuple[TextEncoder, Tokenizer, int]:
    """The text encoder, its tokenizer, and the numbers of an embedding."""
    model, tokenizer = load_model(config)
    encoder = TextEncoder(model)
    if encoder.layout == "transformers":
        length = int(model.config.text_config.max_position_embeddings)
        return encoder, TransformersTokenizer(tokenizer, length), int(model.config.projection_dim)
    project = model.text_projection
    width = project.out_features if hasattr(project, "out_features") else project.shape[1]
    return encoder, OpenClipTokenizer(tokenizer, int(model.context_length)), int(width)
