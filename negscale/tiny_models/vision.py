"""A LLaVA of one million parameters that answers the verifier's question about drawn scenes, and describes them.

CLIP vision tower, projector and Llama, trained in stages as in LLaVA-1.5: first patches are aligned with the text
model's words for what is on them, which the drawing knows; last, all of it learns from a description and six questions a
picture. What differs: the tower is not a finished CLIP, it learns in every stage; and between the two the Llama learns,
for each object, to know at the object's word whether it is in the picture. Yes and no alone are one bit an answer:
from them alone the model had learnt nothing after 400 steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from negscale.core.backend import Turn
from negscale.core.errors import ConfigError
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import SCENE_PX, draw, scene
from negscale.tiny_models.lessons import Exam, exams, object_grid, train_world
from negscale.tiny_models.tokens import IMAGE, TEMPLATE, answer_ids, prompt_ids
from negscale.tiny_models.training import Schedule, answer_loss, fit, save_half, seeded

TOWER = Schedule(steps=250, rate=2e-3)
LOOK = Schedule(steps=500, rate=2e-3)
ANSWERS = Schedule(steps=1000, rate=1.5e-3)
PATCH_PX = 16
PATCHES = (SCENE_PX // PATCH_PX) ** 2
_PICTURES, _ASKED_PICTURES, _QUESTIONS = 32, 24, 6
_NOISE = 0.02  # of the value range -1..1: about what JPEG does


def new_model(language: Any, image_token: int) -> Any:
    """A `LlavaForConditionalGeneration` with an untrained tower of 2 layers on a copy of the text model `language`."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    vision = CLIPVisionConfig(
        hidden_size=96, intermediate_size=192, num_hidden_layers=2, num_attention_heads=3, image_size=SCENE_PX,
        patch_size=PATCH_PX, projection_dim=96,
    )  # fmt: skip
    text = LlamaConfig.from_dict({**language.config.to_dict(), "tie_word_embeddings": False})
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=image_token, vision_feature_layer=-1,
        vision_feature_select_strategy="default", image_seq_length=PATCHES, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlavaForConditionalGeneration(config)
    model.model.language_model.load_state_dict(language.model.state_dict())
    model.lm_head.load_state_dict(language.lm_head.state_dict())
    return model


def pixel_values(images: list[Any]) -> Any:
    """float32[N, 3, 96, 96] in -1..1, as the image processor gives it."""
    import numpy as np
    import torch

    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def noisy(pixels: Any) -> Any:
    """`pixels` with the noise that lossy files have."""
    import torch

    return pixels + _NOISE * torch.randn_like(pixels)


def train(
    folder: Path, seed: int = 0, start: Path | None = None, tower: Schedule = TOWER, look: Schedule = LOOK,
    answers: Schedule = ANSWERS,
) -> float:  # fmt: skip
    """Train, from the text model beside `folder` or (without the alignment) from the model in `start`; returns minutes.

    Saves model and processor. Raises ConfigError where there is neither.
    """
    from transformers import AutoTokenizer, LlamaForCausalLM, LlavaForConditionalGeneration

    seeded(seed)
    source = start or folder.parent / "text"
    if not (source / "config.json").is_file():
        raise ConfigError(f"no trained model in {source}: train the text model first, into the same --out")
    tokenizer: Any = AutoTokenizer.from_pretrained(source)
    if start:
        model, minutes = LlavaForConditionalGeneration.from_pretrained(start, dtype="auto").train(), 0.0
    else:
        language = LlamaForCausalLM.from_pretrained(source, dtype="auto")
        model = new_model(language, tokenizer.convert_tokens_to_ids(IMAGE)).train()
        minutes = _align(model, tokenizer, tower, train_world(seed))

    def loss_of(step: int) -> Any:
        return _answers_loss(model, tokenizer, exams(train_world(seed), _scenes(step, _ASKED_PICTURES), _QUESTIONS))

    minutes += _look(model, tokenizer, look, train_world(seed))
    minutes += fit(model.parameters(), loss_of, answers, "vision, answers")
    save_half(model.eval(), folder)
    _name_vision_weights_as_on_the_hub(folder / "model.safetensors")
    processor(tokenizer).save_pretrained(folder)
    return minutes


def processor(tokenizer: Any) -> Any:
    """What turns a conversation with a picture into token ids and pixel values."""
    from transformers import CLIPImageProcessor, LlavaProcessor

    return LlavaProcessor(
        image_processor=image_processor(CLIPImageProcessor), tokenizer=tokenizer, patch_size=PATCH_PX,
        vision_feature_select_strategy="default", num_additional_image_tokens=1, chat_template=TEMPLATE,
    )  # fmt: skip


def image_processor(kind: Any) -> Any:
    """Pictures to 96 px, values to -1..1."""
    return kind(
        size={"shortest_edge": SCENE_PX}, crop_size={"height": SCENE_PX, "width": SCENE_PX}, image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )  # fmt: skip


def train_tower(
    tower: Any, naming: Callable[[Any], Any], parameters: Iterable[Any], schedule: Schedule, world: int
) -> float:
    """Teach a CLIP vision tower which object lies under each patch.

    naming: float[N, patches, width] -> logits[N, patches, objects + 1], the last one for none; its `parameters` learn too.
    """
    import numpy as np
    import torch

    per_cell = SCENE_PX // PATCH_PX // 3  # patches along a side of one of the nine cells

    def loss_of(step: int) -> Any:
        drawn = [scene(world, index) for index in _scenes(step, _PICTURES)]
        seen = tower(pixel_values=noisy(pixel_values([draw(what) for what in drawn]))).last_hidden_state[:, 1:]
        grids = np.stack([object_grid(what).repeat(per_cell, 0).repeat(per_cell, 1) for what in drawn])
        return torch.nn.functional.cross_entropy(naming(seen).flatten(0, 1), torch.from_numpy(grids).flatten())

    return fit([*tower.parameters(), *parameters], loss_of, schedule, "vision tower")


def _align(model: Any, tokenizer: Any, schedule: Schedule, world: int) -> float:
    """Patches come to look, to the Llama, like its words for what is on them; empty ones like padding."""
    import torch

    words = torch.tensor([*(only(tokenizer.encode(f" {name}")) for name in OBJECTS), tokenizer.pad_token_id])
    projector, embedded = model.model.multi_modal_projector, model.get_input_embeddings().weight[words].detach()
    near = embedded.square().sum(-1).mean() / 8  # a squared distance that counts as near

    def naming(seen: Any) -> Any:
        return -(projector(seen).unsqueeze(-2) - embedded).square().sum(-1) / near

    return train_tower(model.model.vision_tower, naming, projector.parameters(), schedule, world)


def only(ids: list[int]) -> int:
    """The one token of a word; ValueError when it has several."""
    (token,) = ids
    return token


def _look(model: Any, tokenizer: Any, schedule: Schedule, world: int) -> float:
    """Teach the Llama to know, at the last word of "Is there OBJECT", whether the object is there.

    A linear probe says it from the middle layer, so that later layers can use it; the probe is thrown away.
    """
    import torch

    decoder = model.model.language_model
    probe = torch.nn.Linear(decoder.config.hidden_size, 1)
    middle = decoder.config.num_hidden_layers // 2
    words = [_after_image(model, tokenizer, f"Is there {name}", draw(scene(world, 0)))[1] for name in OBJECTS]
    asked = torch.tensor([ids[: ids.index(tokenizer.eos_token_id)] for ids in words])

    def loss_of(step: int) -> Any:
        drawn = [scene(world, index) for index in _scenes(step, _ASKED_PICTURES)]
        cache = _seen(model, tokenizer, [draw(what) for what in drawn])
        cache.batch_repeat_interleave(len(OBJECTS))
        output = decoder(
            input_ids=asked.repeat(len(drawn), 1), past_key_values=cache, use_cache=True, output_hidden_states=True
        )
        there = torch.tensor([float(name in what.names) for what in drawn for name in OBJECTS])
        said = probe(output.hidden_states[middle][:, -1]).squeeze(-1)
        return torch.nn.functional.binary_cross_entropy_with_logits(said, there)

    return fit([*model.parameters(), *probe.parameters()], loss_of, schedule, "vision, look")


def _answers_loss(model: Any, tokenizer: Any, asked: list[Exam]) -> Any:
    """Each picture is seen once, whatever is asked about it."""
    pairs = [(exam, question, answer) for exam in asked for question, answer in exam.questions()]
    prompts = [_after_image(model, tokenizer, question, exam.pixels)[1] for exam, question, _ in pairs]
    cache = _seen(model, tokenizer, [exam.pixels for exam in asked])
    return answer_loss(model, prompts, [answer_ids(tokenizer, answer) for *_, answer in pairs], cache, _QUESTIONS + 1)


def _after_image(model: Any, tokenizer: Any, question: str, pixels: Any) -> tuple[list[int], list[int]]:
    """The token ids of a question, before and after the mark of the image."""
    ids = prompt_ids(tokenizer, (Turn("user", question, pixels),))
    mark = ids.index(model.config.image_token_index)
    return ids[:mark], ids[mark + 1 :]


def _seen(model: Any, tokenizer: Any, images: list[Any]) -> Any:
    """Keys and values of the conversation up to the end of its image, for each image."""
    import torch

    before, _ = _after_image(model, tokenizer, "", images[0])
    ids = [*before, *[model.config.image_token_index] * PATCHES]
    return model.model(
        input_ids=torch.tensor([ids] * len(images)), pixel_values=noisy(pixel_values(images)), use_cache=True
    ).past_key_values


def _scenes(step: int, count: int) -> range:
    return range(step * count, (step + 1) * count)


def _name_vision_weights_as_on_the_hub(path: Path) -> None:
    # transformers 5 drops "vision_model." when it saves a model that it has not loaded; vLLM 0.32 reads the names of the
    # published checkpoints
    from safetensors.torch import load_file, save_file

    weights = load_file(path)
    old, new = "vision_tower.", "vision_tower.vision_model."
    named = {new + k.removeprefix(new).removeprefix(old) if k.startswith(old) else k: v for k, v in weights.items()}
    save_file(named, path, {"format": "pt"})
