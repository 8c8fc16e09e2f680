"""Blind solvers on questions small enough to be checked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from negscale.core.errors import PlanError
from negscale.questions.blind import joint_rule, length_rules, type_prior
from negscale.questions.lexicon import ANNOTATED, Lexicon
from negscale.questions.options import Claim, claim_of, claims_of
from negscale.questions.table import Questions, credits
from negscale.questions.trained import caption_only_scores, folds_by, random_answers

HYBRID = ("A knife, but no car.", "A car, but no knife.", "A car.", "There is no knife.")
NEGATIVE = ("There is no car.", "A car, but no knife.", "A car.", "No knife is present.")
POSITIVE = ("A knife and a fork.", "A car, but no knife.", "A car.", "No knife is present.")


def made(*options: tuple[str, ...], answers: tuple[int, ...] | None = None, images: tuple[str, ...] = ()) -> Questions:
    n = len(options)
    return Questions("made", images or tuple(map(str, range(n))), options, answers or (0,) * n, ("",) * n)


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("This image features a sofa and a motorbike.", Claim(("couch", "motorcycle"), (), ())),
        ("No people are in the picture.", Claim((), ("person",), ("no",))),
        ("A hot dog, but no dog.", Claim(("hot dog",), ("dog",), ("no",))),
        ("There is no cup, but a television is shown.", Claim(("tv",), ("cup",), ("no",))),
        ("A dining table is shown, while a chair is absent.", Claim(("dining table",), ("chair",), ("lexical",))),
        ("A teddy bear.", Claim(("teddy bear",), (), ())),
        ("An unoccupied street.", Claim((), ("person",), ("lexical",))),
        ("A red sky.", Claim((), (), ())),
    ],
)
def test_claims(text: str, claim: Claim) -> None:
    assert claim_of(text, ANNOTATED) == claim


def test_kinds() -> None:
    texts = ("A cat.", "A cat and a dog.", "No cat.", "A cat, but no dog.", "The sky.", "Nothing green.")
    kinds = [claim_of(text, ANNOTATED).kind for text in texts]
    assert kinds == ["affirm_one", "affirm_two", "deny", "hybrid", "other", "deny"]


def test_lexicon_takes_further_names_and_merges_synonyms() -> None:
    lexicon = Lexicon(("couch", "sofa", "hat"))
    assert {lexicon.forms[form] for form in ("sofas", "couch", "hats")} == {"couch", "hat"}
    assert [m.name for m in lexicon.mentions("Hats on the Sofa; a hatch")] == ["hat", "couch"]


def test_joint_rule_reads_the_answer_off_each_released_type() -> None:
    questions = made(HYBRID, NEGATIVE, POSITIVE)
    scores = joint_rule(questions, claims_of(questions.texts, ANNOTATED))
    assert credits(questions, scores).tolist() == [1, 1, 1]
    moved = made(HYBRID[::-1], answers=(3,))
    assert credits(moved, joint_rule(moved, claims_of(moved.texts, ANNOTATED))).tolist() == [1]
    helpless = made(("Red.", "Green.", "Blue.", "Grey."))
    assert credits(helpless, joint_rule(helpless, claims_of(helpless.texts, ANNOTATED))).tolist() == [0.25]


def test_type_prior_shares_credit_among_equal_types() -> None:
    questions = made(HYBRID, NEGATIVE, POSITIVE)
    assert credits(questions, type_prior(questions, claims_of(questions.texts, ANNOTATED))).tolist() == [0.5, 0, 1]


def test_length_rules_tie_and_never_read_positions() -> None:
    questions = made(("aaa", "bb", "bb", "c"), ("bb", "aaa", "c", "bb"))
    rules = length_rules(questions)
    assert credits(questions, rules["longest"]).tolist() == [1, 0]
    assert credits(questions, rules["second longest"]).tolist() == [0, 0.5]
    two = made(("aaa", "b"), ("cc", "dd"))
    assert credits(two, length_rules(two)["second longest"]).tolist() == [0, 0.5]


def test_constant_scores_are_worth_chance_and_nan_is_refused() -> None:
    questions = made(("a", "b"), ("a", "b", "c", "d"))
    assert credits(questions, np.zeros((2, 4))).tolist() == [0.5, 0.25]
    with pytest.raises(ValueError, match="not a number"):
        credits(questions, np.full((2, 4), np.nan))


def test_folds_keep_keys_together_and_are_even() -> None:
    keys = [f"image-{number // 3}" for number in range(300)]
    fold = folds_by(keys, seed=1)
    assert len({(key, number) for key, number in zip(keys, fold.tolist(), strict=True)}) == 100
    assert np.bincount(fold).tolist() == [60] * 5
    assert (folds_by(keys, seed=2) != fold).any()
    with pytest.raises(PlanError, match="3 distinct keys cannot fill 5 folds"):
        folds_by(["a", "b", "c"], seed=0)


def test_regression_learns_a_word_and_nothing_from_random_answers() -> None:
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(0)
    nouns = ["dog", "cat", "car", "cup", "fork", "tree"]
    options, answers = [], []
    for _ in range(600):
        right = int(rng.integers(4))
        picked = rng.choice(nouns, 4)
        options.append(tuple(f"{'no' if slot == right else 'a'} {noun}" for slot, noun in enumerate(picked)))
        answers.append(right)
    questions = made(*options, answers=tuple(answers))
    assert credits(questions, caption_only_scores(questions)).mean() == 1
    drawn = random_answers(questions, seed=3)
    assert abs(credits(questions, caption_only_scores(questions, answers=drawn), drawn).mean() - 0.25) < 0.08


def test_regression_cannot_carry_an_image_across_folds() -> None:
    """One word per image gives its answers away: of use only to who has seen that image."""
    pytest.importorskip("sklearn")
    rng = np.random.default_rng(1)
    options, answers, images = [], [], []
    for number in range(400):
        image, right = number // 4, int(rng.integers(2))
        options.append(tuple(f"secret{image}" if slot == right else f"other{image}" for slot in range(2)))
        answers.append(right)
        images.append(f"image-{image}")
    questions = made(*options, answers=tuple(answers), images=tuple(images))
    assert credits(questions, caption_only_scores(questions)).mean() == 0.5
    leaked = made(*options, answers=tuple(answers))
    assert credits(leaked, caption_only_scores(leaked)).mean() > 0.9


def test_folds_by_group_need_groups() -> None:
    with pytest.raises(PlanError, match="the file has none"):
        caption_only_scores(made(HYBRID), by="group")
