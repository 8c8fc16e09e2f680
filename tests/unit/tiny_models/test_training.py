"""The training script itself: it learns, and a seed gives one model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from negscale.core.backend import Turn
from negscale.core.errors import ConfigError
from negscale.tiny_models import encoder, text, vision
from negscale.tiny_models.lessons import TRAIN_WORLD, negations
from negscale.tiny_models.tokens import answer_ids, prompt_ids
from negscale.tiny_models.training import Schedule, answer_loss, seeded

torch: Any = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("transformers", reason="training needs transformers")
load_file: Any = pytest.importorskip("safetensors.torch", reason="training needs safetensors").load_file
FEW = Schedule(steps=3, rate=1e-3)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def trained(name: str, root: Path, seed: int) -> bytes:
    folder = root / name
    if name == "encoder":
        encoder.train(folder, seed, None, FEW, FEW)
        return weights(folder)
    text.train(root / "text", seed, None, FEW)
    if name == "vision":
        vision.train(folder, seed, None, FEW, FEW, FEW)
    return weights(folder)


@pytest.mark.parametrize("name", ["text", "vision", "encoder"])
def test_a_seed_gives_one_model(name: str, tmp_path: Path) -> None:
    first, again, other = (trained(name, tmp_path / f"{k}", seed) for k, seed in enumerate((0, 0, 1)))
    assert first == again != other


def test_sharing_the_beginning_changes_nothing() -> None:
    """The loss is that of whole conversations, one by one, without a cache."""
    seeded(0)
    tokenizer = text.chat_tokenizer()
    model = text.new_model(tokenizer)
    lessons = negations(TRAIN_WORLD, range(4))
    prompts = [prompt_ids(tokenizer, lesson.turns) for lesson in lessons]
    answers = [answer_ids(tokenizer, lesson.answer) for lesson in lessons]
    losses, tokens = 0.0, 0
    for prompt, answer in zip(prompts, answers, strict=True):
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        losses += torch.nn.functional.cross_entropy(logits, torch.tensor(answer), reduction="sum").item()
        tokens += len(answer)
    assert answer_loss(model, prompts, answers).item() == pytest.approx(losses / tokens, rel=1e-4)


def test_the_trainers_pixels_and_prompts_are_the_processors() -> None:
    from negscale.datasets.toy_scenes import draw, scene

    tokenizer = text.chat_tokenizer()
    image = draw(scene(3, 4))
    asked = prompt_ids(tokenizer, (Turn("user", "Is there dog in this image?", image),))
    written = tokenizer.decode(asked)
    given = vision.processor(tokenizer)(images=[image], text=[written], return_tensors="pt", add_special_tokens=False)
    assert torch.allclose(given["pixel_values"], vision.pixel_values([image]), atol=1e-5)
    mark = tokenizer.convert_tokens_to_ids("<image>")
    wide = [token for each in asked for token in ([each] * vision.PATCHES if each == mark else [each])]
    assert given["input_ids"][0].tolist() == wide


def test_training_lowers_the_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text.train(tmp_path, 0, None, Schedule(steps=40, rate=3e-3))
    losses = [
        float(line.split("loss ")[1].split(",")[0]) for line in capsys.readouterr().out.splitlines() if "loss" in line
    ]
    assert losses[-1] < 0.9 * losses[0]


def test_training_goes_on_from_a_model(tmp_path: Path) -> None:
    text.train(tmp_path / "first", 0, None, FEW)
    text.train(tmp_path / "second", 1, tmp_path / "first", Schedule(steps=1, rate=1e-6))
    text.train(tmp_path / "fresh", 1, None, Schedule(steps=1, rate=1e-6))
    one, two, other = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second", "fresh"))
    gap = {name: (one[name].float() - two[name].float()).abs().max().item() for name in one}
    assert max(gap.values()) < 1e-3, "a small step from where the first training ended"
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_vision_needs_the_text_model(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="train the text model first"):
        vision.train(tmp_path / "vision", 0, None, FEW, FEW)
