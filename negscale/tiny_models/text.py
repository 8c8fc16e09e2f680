"""A Llama of one million parameters that follows P1's prompts about drawn scenes: propose, propose at random, negate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from negscale.datasets.toy_icons import OBJECTS
from negscale.prompts.negationclip import verify_prompt
from negscale.tiny_models.lessons import TRAIN_WORLD, Lesson, negations, proposals, random_proposals, train_world
from negscale.tiny_models.tokens import answer_ids, prompt_ids, train_tokenizer
from negscale.tiny_models.training import Schedule, answer_loss, fit, save_half, seeded

SCHEDULE = Schedule(steps=3600, rate=3e-3)
MAX_LENGTH = 512
_VOCABULARY = 1024
_NEGATIONS, _PROPOSALS, _RANDOM = 24, 12, 4  # scenes in a step; captions come in twos


def chat_tokenizer() -> Any:
    """The tokenizer of the text and of the multimodal model, trained on a thousand conversations."""
    scenes = range(1000)
    lessons = proposals(TRAIN_WORLD, scenes) + negations(TRAIN_WORLD, scenes)
    texts = [text for lesson in lessons for text in (*(turn.text for turn in lesson.turns), lesson.answer)]
    texts += [verify_prompt(name) for name in OBJECTS] * 50 + ["yes", "no"] * 50
    return train_tokenizer(texts, _VOCABULARY, MAX_LENGTH)


def new_model(tokenizer: Any) -> Any:
    """An untrained `LlamaForCausalLM`: 4 layers, width 128, 4 heads."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=352, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=MAX_LENGTH, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, tie_word_embeddings=True,
    )  # fmt: skip
    return LlamaForCausalLM(config)


def train(folder: Path, seed: int = 0, start: Path | None = None, schedule: Schedule = SCHEDULE) -> float:
    """Train, from nothing or from the model in `start`, and save the model with its tokenizer; returns minutes."""
    from transformers import LlamaForCausalLM

    seeded(seed)
    tokenizer = chat_tokenizer()
    model = (LlamaForCausalLM.from_pretrained(start, dtype="auto") if start else new_model(tokenizer)).train()
    world = train_world(seed)

    def loss_of_lessons(lessons: list[Lesson]) -> Any:
        prompts = [prompt_ids(tokenizer, lesson.turns) for lesson in lessons]
        return answer_loss(model, prompts, [answer_ids(tokenizer, lesson.answer) for lesson in lessons])

    def loss_of(step: int) -> Any:
        def scenes(count: int) -> range:
            return range(step * count, (step + 1) * count)

        proposed = loss_of_lessons(proposals(world, scenes(_PROPOSALS)))
        negated = loss_of_lessons(negations(world, scenes(_NEGATIONS)))
        return negated + 0.3 * proposed + 0.1 * loss_of_lessons(random_proposals(world, scenes(_RANDOM)))

    minutes = fit(model.parameters(), loss_of, schedule, "text")
    save_half(model.eval(), folder)
    tokenizer.save_pretrained(folder)
    return minutes
