"""The committed weights reach the figures that were written when they were trained (transformers, CPU)."""

from __future__ import annotations

import pytest

from negscale.tiny_models.editor_figures import editor_figures
from negscale.tiny_models.files import Name, folder_of, read_figures
from negscale.tiny_models.measure import encoder_figures, text_figures, vision_figures

pytest.importorskip("torch", reason="the tiny models run in torch")
pytest.importorskip("transformers", reason="the tiny models run in transformers")


def near(name: Name, figure: str, by: float) -> object:
    return pytest.approx(read_figures(folder_of(name))[figure], abs=by)


def test_text_model_proposes_and_negates() -> None:
    found = text_figures(folder_of("text"), scenes=64)
    assert found["proposals_good"] >= 0.8
    assert found["random_proposals_good"] >= 0.95
    assert found["random_objects"] >= 12, "proposals are drawn, not recited"
    assert found["negations_pass_check"] >= 0.9
    assert found["negations_pass_check"] == near("text", "negations_pass_check", 0.1)
    assert 0.05 < found["proposals_present"] < 0.5, "likely objects are sometimes there: the verifier has work"


def test_vision_model_answers_by_the_picture() -> None:
    found = vision_figures(folder_of("vision"), scenes=128)
    assert found["accuracy"] >= 0.97
    assert found["absent_precision"] >= 0.97
    assert found["unparsable"] == 0
    assert found["accuracy"] == near("vision", "accuracy", 0.02)


def test_encoder_matches_pictures_and_captions_and_is_blind_to_negation() -> None:
    found = encoder_figures(folder_of("encoder"), batches=4)
    assert found["image_to_text_r1"] >= 0.6 * found["image_to_text_r1_by_rule"]
    assert found["image_to_text_r1"] == near("encoder", "image_to_text_r1", 0.06)
    assert found["text_to_image_r1"] == near("encoder", "text_to_image_r1", 0.06)
    assert 0.3 < found["negation_accuracy"] < 0.7, "the base model of later fine-tuning does not understand negation"


def test_editor_paints_objects_and_leaves_the_rest() -> None:
    pytest.importorskip("diffusers", reason="the tiny editor runs in diffusers")
    found = editor_figures(folder_of("editor"), scenes=24)
    assert found["added_seen"] >= 0.8, "an untrained editor paints what was asked for in none"
    assert found["removed_unseen"] >= 0.5
    assert found["added_seen"] == near("editor", "added_seen", 0.2)
    assert found["others_kept"] >= 0.75
    assert found["change_outside"] <= 0.05
    assert found["faults"] == 0
