"""Small models with random weights in the layout of the hub, for tests of code that loads real checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = """
    a the is there no not in this image caption object likely answer only with yes or no name an absence of add to
    dog cat ball tree hat person bench car kite bird park street field beach man woman riding playing standing
"""
SPECIAL = ["<|pad|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>", "<image>"]
TEMPLATE = (
    "{{ '<|begin|>' }}{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def make_tokenizer(folder: Path, max_length: int = 256) -> Any:
    """A byte-level BPE tokenizer with a chat template, trained on a few words; saved to `folder`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([f" {word} {word.capitalize()} {word}" for word in WORDS.split()], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|pad|>",
        additional_special_tokens=SPECIAL[3:], model_max_length=max_length,
    )  # fmt: skip
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_llama(folder: Path, max_length: int = 256) -> Path:
    """A Llama of 2 layers, width 64, random weights from a fixed seed, as safetensors; returns `folder`."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = make_tokenizer(folder, max_length)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=max_length, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, dtype=torch.float32,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder, safe_serialization=True)
    return folder


def make_llava_next(folder: Path, max_length: int = 512) -> Path:
    """A LLaVA-NeXT with a vision tower of 28-pixel tiles and random weights; returns `folder`."""
    import torch
    from transformers import (
        CLIPVisionConfig,
        LlamaConfig,
        LlavaNextConfig,
        LlavaNextForConditionalGeneration,
        LlavaNextImageProcessor,
        LlavaNextProcessor,
    )

    tokenizer = make_tokenizer(folder, max_length)
    grid = [[28, 56], [56, 28], [56, 56]]
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2, image_size=28, patch_size=14,
        projection_dim=32,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=max_length, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(0)
    config = LlavaNextConfig(
        vision_config=vision, text_config=text, image_grid_pinpoints=grid,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"), dtype=torch.float32,
    )  # fmt: skip
    LlavaNextForConditionalGeneration(config).save_pretrained(folder, safe_serialization=True)
    _name_vision_weights_as_on_the_hub(folder / "model.safetensors")
    eyes = LlavaNextImageProcessor(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, image_grid_pinpoints=grid
    )
    LlavaNextProcessor(
        image_processor=eyes, tokenizer=tokenizer, patch_size=14, vision_feature_select_strategy="default",
        num_additional_image_tokens=1, chat_template=TEMPLATE,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def _name_vision_weights_as_on_the_hub(path: Path) -> None:
    # transformers 5 drops "vision_model." when it saves; vLLM 0.32 reads the names of the published checkpoints
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    old, new = "vision_tower.", "vision_tower.vision_model."
    save_file({new + k[len(old) :] if k.startswith(old) else k: v for k, v in weights.items()}, path, {"format": "pt"})
