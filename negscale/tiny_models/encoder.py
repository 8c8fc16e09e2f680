"""A CLIP of half a million parameters: pictures and captions of drawn scenes in one space.

Trained as CLIP was, on captions of which less than one in a hundred denies something (`web_captions`); of "no" and
"without" it learns as little. It is the model to start from when a training on negation is to show something. Texts are
read at their end mark, the highest token, in transformers and open_clip alike. What differs from CLIP: before the
contrastive training the vision tower learns to name the objects under its patches, which replaces hundreds of millions
of pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import SCENE_PX, draw, scene
from negscale.tiny_models.lessons import TRAIN_WORLD, negations, train_world
from negscale.tiny_models.tokens import train_tokenizer
from negscale.tiny_models.training import Pause, Schedule, fit, save_half, seeded
from negscale.tiny_models.vision import PATCH_PX, TOWER, image_processor, noisy, pixel_values, train_tower
from negscale.tiny_models.web_captions import denials, web_caption

SCHEDULE = Schedule(steps=2400, rate=2e-3)
MAX_LENGTH = 32
_VOCABULARY = 1024
_PAIRS = 64
_TITLE = "encoder"


def caption_tokenizer() -> Any:
    """Frames each text as CLIP's does. It knows the words of negation, as CLIP's does; the training has no use for them."""
    scenes = range(1500)
    texts = [text for lesson in negations(TRAIN_WORLD, scenes) for text in (lesson.turns[-1].text, lesson.answer)]
    texts += [web_caption(scene(TRAIN_WORLD, index), TRAIN_WORLD, index) for index in range(6000)]
    texts += [*denials(TRAIN_WORLD, scenes)] * 3
    return train_tokenizer(texts, _VOCABULARY, MAX_LENGTH, frame=True)


def new_model(tokenizer: Any) -> Any:
    """An untrained `CLIPModel`: two towers of 2 layers, width 96, embeddings of 64 numbers."""
    from transformers import CLIPConfig, CLIPModel

    tower = {
        "hidden_size": 96, "intermediate_size": 192, "num_attention_heads": 3, "projection_dim": 64,
        "num_hidden_layers": 2,
    }  # fmt: skip
    text = {
        **tower, "vocab_size": len(tokenizer), "max_position_embeddings": MAX_LENGTH,
        "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }  # fmt: skip
    vision = {**tower, "image_size": SCENE_PX, "patch_size": PATCH_PX}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=64))


def train(
    folder: Path, seed: int = 0, start: Path | None = None, tower: Schedule = TOWER, schedule: Schedule = SCHEDULE,
    pause: Pause | None = None,
) -> float:  # fmt: skip
    """Train, from nothing or from the model in `start`, and save the model with its processor; returns minutes.

    With `pause` the contrastive training may stop before its end (`Paused`) and goes on where it stopped when called again.
    """
    from transformers import CLIPImageProcessor, CLIPModel, CLIPProcessor

    torch = seeded(seed)
    tokenizer = caption_tokenizer()
    model = (CLIPModel.from_pretrained(start, dtype="auto") if start else new_model(tokenizer)).train()
    world, minutes = train_world(seed), 0.0

    def loss_of(step: int) -> Any:
        torch.manual_seed(1_000_000 * seed + step)  # the noise of a step, whatever came before it
        images, texts = pairs(world, range(step * _PAIRS, (step + 1) * _PAIRS))
        written = tokenizer(texts, return_tensors="pt", padding=True)
        return model(
            input_ids=written["input_ids"], attention_mask=written["attention_mask"],
            pixel_values=noisy(pixel_values(images)), return_loss=True,
        ).loss  # fmt: skip

    config: Any = model.config
    head = torch.nn.Linear(config.vision_config.hidden_size, len(OBJECTS) + 1)  # thrown away afterwards
    if not start and not (pause and pause.has(_TITLE)):
        minutes = train_tower(model.vision_model, head, head.parameters(), tower, world)
    minutes += fit(model.parameters(), loss_of, schedule, _TITLE, pause)
    with torch.no_grad():
        model.logit_scale.clamp_(max=4.6052)  # CLIP's limit: a factor of 100
    save_half(model.eval(), folder)
    CLIPProcessor(image_processor(CLIPImageProcessor), tokenizer).save_pretrained(folder)
    return minutes


def pairs(world: int, scenes: range) -> tuple[list[Any], list[str]]:
    """Pictures, and one caption of each."""
    drawn = [scene(world, index) for index in scenes]
    said = [web_caption(what, world, index) for what, index in zip(drawn, scenes, strict=True)]
    return [draw(what) for what in drawn], said


def embed(folder: Path, images: Sequence[Any], texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors float32[N, 64] of pictures and of texts, by plain transformers."""
    import torch
    from transformers import CLIPModel, CLIPProcessor

    model = CLIPModel.from_pretrained(folder, dtype="auto").eval()
    processor: Any = CLIPProcessor.from_pretrained(folder)
    inputs = processor(images=list(images), text=list(texts), return_tensors="pt", padding=True)
    with torch.inference_mode():
        output = model(**{k: inputs[k] for k in ("input_ids", "attention_mask", "pixel_values")})
    return output.image_embeds.numpy(), output.text_embeds.numpy()
