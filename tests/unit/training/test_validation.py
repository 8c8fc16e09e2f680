"""Validation on held-out rows: what it asks is fair, and what it measures is right."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from negscale.datasets.toy_scenes import scene
from negscale.language.nouns import mentions
from negscale.storage.folder import open_folder
from negscale.training.card import model_card
from negscale.training.reader import HoldoutConfig, RowStream, TrainingRunConfig, open_streams
from negscale.training.validation import Probe, note_validation, validations
from tests.unit.training.made_runs import caption_run

WIDTH = 64


class Images:
    """A vector of its own for each image; every seventh could not be read."""

    def __init__(self, rows: RowStream) -> None:
        self._rows = rows

    def read(self, run: int, shard) -> np.ndarray:
        table = self._rows.sources[run].read(shard, None)
        numbers = [int(name.split("-")[1]) for name in table["image_id"].to_pylist()]
        return np.stack([vector(f"image {n}") * (np.nan if n % 7 == 3 else 1) for n in numbers])


def vector(name: str) -> np.ndarray:
    made = np.random.default_rng(int.from_bytes(name.encode(), "little")).standard_normal(WIDTH).astype(np.float32)
    return made / np.linalg.norm(made)


@pytest.fixture
def held(tmp_path: Path) -> RowStream:
    run = caption_run(tmp_path / "run", (40, 40, 40, 40))
    _, held = open_streams([TrainingRunConfig(uri=run)], ("image", "image_id"), 0, HoldoutConfig(share=0.5))
    assert held is not None
    held.vectors["image"] = Images(held)
    return held


def test_a_model_without_an_opinion_gets_chance(held: RowStream) -> None:
    found = Probe(held, 500, 0).figures(lambda texts: np.tile(vector("same"), (len(texts), 1)))
    assert found["validation_choice"] == pytest.approx(0.5)
    assert found["validation_retrieval_r1"] < 3 / found["validation_images"]  # one order of images for all texts
    assert found["validation_questions"] >= 20


def test_a_preference_for_denials_gets_half(held: RowStream) -> None:
    probe = Probe(held, 500, 0)
    _, image_ID = probe._read
    liked = np.linalg.pinv(image_ID) @ np.ones(len(image_ID))  # every image likes it equally
    assert np.allclose(image_ID @ liked, 1, atol=1e-3)

    def encode(texts) -> np.ndarray:
        denies = np.array([bool(re.search(r"\b(no|not|lacks|without|absent)\b", text.lower())) for text in texts])
        return np.where(denies[:, None], liked, -liked)

    found = probe.figures(encode)
    assert found["validation_choice"] == pytest.approx(0.5)
    assert found["validation_choice_both"] == 0.0


def test_a_model_that_knows_everything_gets_nearly_all(held: RowStream) -> None:
    probe = Probe(held, 500, 0)
    rows, image_ID = probe._read
    assert len(rows) < held.order(0).rows  # rows whose image has no vector are left out
    assert not [row["image_id"] for row in rows if int(row["image_id"].split("-")[1]) % 7 == 3]
    owner = {row[column]: row["number"] for row in rows for column in ("caption", "negated_caption")}
    right = {text: a for a, _, (text, _) in probe._pairs} | {text: b for _, b, (_, text) in probe._pairs}

    def encode(texts) -> np.ndarray:
        return np.stack([image_ID[owner[t]] if t in owner else image_ID[right[t]] for t in texts])

    found = probe.figures(encode)
    # a sentence may stand under two scenes, and then it has one owner
    assert found["validation_retrieval_neg_r1"] > 0.9
    assert found["validation_retrieval_r1"] > 0.7
    assert found["validation_choice"] > 0.7


def test_pairs_are_true_and_each_object_is_as_often_there_as_not(held: RowStream) -> None:
    probe = Probe(held, 500, 0)
    rows, _ = probe._read
    names = {row["number"]: scene(3, int(row["image_id"].split("-")[1])).names for row in rows}
    asked = {name for here in names.values() for name in here} | {row["absent_object"] for row in rows}
    for without, showing, (denied, affirmed) in probe._pairs:
        name = max((n for n in asked if mentions(denied, n)), key=len)
        assert mentions(affirmed, name)
        assert name in names[showing]
        assert name not in names[without]
    assert len(probe._pairs) >= 10
    assert Probe(held, 500, 0)._pairs == probe._pairs


def test_figures_are_kept_and_stand_on_the_card(tmp_path: Path) -> None:
    folder = open_folder(str(tmp_path))
    for step in (20, 4, 100):
        note_validation(folder, step, {"validation_choice": step / 200})
    found = validations(folder)
    assert list(found) == [4, 20, 100]
    config = {
        "objective": {"kind": "negscale"}, "holdout": {"share": 0.1, "by": "image", "seed": 0}, "freeze": ["visual"],
        "epochs": 2,
    }  # fmt: skip
    data = [{"run": "negationclip/p1", "rows": 1234, "weight": 1.0, "run_fingerprint": "abc", "content_digest": "def"}]
    card = model_card("clip", {
        "name": "train/x", "step": 100, "training": "f00", "model": "hf/a|b", "data": data, "config": config,
        "held_out": {"held_out_loss": 1.25}, "validation": found,
    })  # fmt: skip
    assert "| validation_choice | 0.0200 | 0.1000 | 0.5000 |" in card
    assert "| negationclip/p1 | 1,234 | 1 | `abc` | `def` |" in card
    assert "10% by image" in card
    assert "| held_out_loss | 1.2500 |" in card
    bare = model_card("clip", {
        "name": "train/x", "step": 100, "training": "f00", "model": "m", "data": data,
        "config": {**config, "holdout": {"share": 0.0, "by": "image", "seed": 0}}, "held_out": {}, "validation": {},
    })  # fmt: skip
    assert "Nothing was held out" in bare
    assert "Nothing was measured" in bare


def test_a_checkpoint_waits_for_its_validation(tmp_path: Path) -> None:
    import torch

    from negscale.training.checkpoint import Checkpoints
    from negscale.training.engine import EngineState

    checkpoints, state = Checkpoints(open_folder(str(tmp_path)), keep=1), EngineState({"a": torch.ones(2)}, {})
    for step in range(1, 6):
        checkpoints.save(step, state, {}, {}, pinned=step == 2)
    assert checkpoints.steps() == [2, 5]
    checkpoints.unpin(2)
    checkpoints.save(6, state, {}, {})
    assert checkpoints.steps() == [6]
