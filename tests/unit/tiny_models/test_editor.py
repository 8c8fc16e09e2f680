"""The editor's lessons are true, its folder is diffusers', and its training can stop and go on."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negscale.backends.tiny.vision import find
from negscale.language.polarity import polarity
from negscale.tiny_models import editor
from negscale.tiny_models.edit_lessons import edit_lesson
from negscale.tiny_models.lessons import TEST_WORLD, TRAIN_WORLD
from negscale.tiny_models.training import Pause, Paused, Schedule
from negscale.tiny_models.vision import pixel_values

torch: Any = pytest.importorskip("torch", reason="training needs torch")
pytest.importorskip("diffusers", reason="the editor is a pipeline of diffusers")
LESSONS = [edit_lesson(TRAIN_WORLD, index) for index in range(300)]
FEW = Schedule(steps=4, rate=1e-3)
ROUNDS = (editor.Round(FEW, 64), editor.Round(Schedule(steps=3, rate=1e-3, flat=0.5), 40))


def weights(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*.safetensors")}


def test_lessons_do_what_their_sentence_says() -> None:
    for lesson in LESSONS:
        before, after = lesson.before.names, lesson.after.names
        assert lesson.name in lesson.instruction
        assert {"add": after - before, "remove": before - after, "keep": set()}[lesson.kind] == (
            set() if lesson.kind == "keep" else {lesson.name}
        )
        removed = (
            lesson.instruction.startswith(("Remove", "Take")) or polarity(lesson.instruction, lesson.name) == "denied"
        )
        assert removed == (lesson.name not in after), lesson.instruction


def test_objects_never_hide_each_other_and_are_seen() -> None:
    for lesson in LESSONS[:60]:
        image = lesson.pictures()[1]
        assert all(find(image, name).score >= 0.9 for name in lesson.after.names), lesson


def test_lessons_repeat_and_worlds_differ() -> None:
    assert edit_lesson(TRAIN_WORLD, 5) == LESSONS[5]
    assert edit_lesson(TEST_WORLD, 5) != LESSONS[5]
    assert edit_lesson(TRAIN_WORLD, 5, "remove").kind == "remove"
    kinds = [lesson.kind for lesson in LESSONS]
    assert 0.45 < np.mean([kind == "add" for kind in kinds]) < 0.65


def test_the_tokenizer_knows_the_words_and_spells_others() -> None:
    tokenizer = editor.instruction_tokenizer()
    ids = tokenizer("Add an umbrella.").input_ids
    assert len(ids) == 6, "begin, three words, the dot, end"
    other = tokenizer("Zebra, façade & 7 quilts").input_ids
    assert len(other) > 8
    assert tokenizer.decode(other, skip_special_tokens=True).replace(" ", "") == "zebra,façade&7quilts"


def test_normalised_latents_decode_to_the_same_pictures() -> None:
    torch.manual_seed(0)
    vae = editor.new_autoencoder().eval()
    pixels = pixel_values([lesson.pictures()[0] for lesson in LESSONS[:8]])
    with torch.no_grad():
        before = vae.decode(vae.encode(pixels).latent_dist.mode()).sample
        editor.normalise_latents(vae, TRAIN_WORLD)
        latents = vae.encode(pixels).latent_dist.mode()
        assert (vae.decode(latents).sample - before).abs().max().item() < 1e-3
    assert latents.std().item() == pytest.approx(1, abs=0.2)


@pytest.mark.slow
def test_a_seed_gives_one_editor_and_pausing_changes_nothing(tmp_path: Path) -> None:
    editor.train(tmp_path / "whole", 0, None, FEW, ROUNDS)
    pauses = 0
    while not (tmp_path / "parts").is_dir():
        with contextlib.suppress(Paused):  # minutes 0: it stops after every step
            editor.train(tmp_path / "parts", 0, None, FEW, ROUNDS, Pause(tmp_path / "kept", 0.0))
        pauses += 1
    assert pauses == 9
    assert weights(tmp_path / "whole") == weights(tmp_path / "parts")
    editor.train(tmp_path / "other", 1, None, FEW, ROUNDS)
    assert weights(tmp_path / "whole") != weights(tmp_path / "other")


def test_training_lowers_the_loss(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    editor.train(tmp_path, 0, None, Schedule(steps=101, rate=4e-3), ROUNDS[:1])
    lines = [line for line in capsys.readouterr().out.splitlines() if "autoencoder" in line]
    losses = [float(line.split("loss ")[1].split(",")[0]) for line in lines]
    assert losses[-1] < 0.7 * losses[0]
