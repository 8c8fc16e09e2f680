"""Tuning sees its own split only, and finds the value that works there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from negscale.backends.negation_scoring import RepulsionConfig, needed_texts
from negscale.benchmarks.encoding import Vectors
from negscale.benchmarks.mcq_neg import MCQ_COCO
from negscale.benchmarks.pictures import Picture
from negscale.benchmarks.scoring import choice_table, text_scores
from negscale.benchmarks.tuning import tune, tuning_split, with_scoring
from negscale.core.errors import PlanError

ROWS = 400
TEXTS = ("A dog, but no cat.", "A dog and a cat.")


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tuning") / "q.csv"
    lines = [f'{n // 2}.jpg,{n % 2},"{TEXTS[0]}","{TEXTS[1]}"' for n in range(ROWS)]
    path.write_text("image_path,correct_answer,caption_0,caption_1\n" + "\n".join(lines) + "\n")
    return path


def test_no_image_stands_on_both_sides(questions: Path) -> None:
    items = MCQ_COCO.items(str(questions)).items
    small, rest = tuning_split(items, share=0.2)
    names = [{row[0] for row in part["images"].to_pylist()} for part in (small, rest)]
    assert names[0].isdisjoint(names[1])
    assert len(small) + len(rest) == ROWS
    assert 20 < len(names[0]) < 60
    backwards = items.take(list(range(ROWS))[::-1])
    assert {row[0] for row in tuning_split(backwards, share=0.2)[0]["images"].to_pylist()} == names[0]
    with pytest.raises(PlanError, match="cannot be split"):
        tuning_split(items.slice(0, 2))


def test_the_best_value_is_found_and_carries_what_it_was_tuned_on(questions: Path) -> None:
    """Image and texts in a plane: a plain model ties "no cat" with "a cat" and prefers the longer one."""
    items = MCQ_COCO.items(str(questions)).items
    small, rest = tuning_split(items, share=0.2)
    angles = {"A dog": 0, "A dog, but no cat.": 10, "A dog and a cat.": 14, "a photo of cat": 40, "This is a photo": 90}
    plain = [text for text in needed_texts(TEXTS, RepulsionConfig()) if text in angles]
    assert set(plain) >= {"A dog", "a photo of cat", *TEXTS}
    radians = np.radians([angles[text] for text in plain])
    shown = {Picture(f"{n}.jpg"): n for n in range(ROWS // 2)}
    turn = np.radians(-15 * np.ones(ROWS // 2))  # every image holds a dog and no cat
    vectors = Vectors(
        shown, {text: n for n, text in enumerate(plain)}, np.stack([np.cos(turn), np.sin(turn)], 1).astype(np.float32),
        np.stack([np.cos(radians), np.sin(radians)], 1).astype(np.float32),
    )  # fmt: skip
    right = small.filter(np.array(small["answer"].to_pylist()) == 0)
    found = tune(RepulsionConfig(), right, vectors)
    assert found.credit == 1
    assert found.items == len(right)
    assert found.digest != tune(RepulsionConfig(), right.slice(1), vectors).digest
    held_out = choice_table(rest, *text_scores(rest, with_scoring(vectors, rest, found.scoring)))
    credit = dict(zip(rest["answer"].to_pylist(), held_out["credit"].to_pylist(), strict=True))
    assert credit == {0: 1, 1: 0}  # every image is of the one kind
    lost = Vectors(shown, {TEXTS[0]: 0}, vectors.picture_vectors, vectors.text_vectors)
    with pytest.raises(PlanError, match="encode `needed_texts` first"):
        tune(RepulsionConfig(), right, lost)
