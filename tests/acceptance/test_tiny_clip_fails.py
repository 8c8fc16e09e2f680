"""The published failure on drawn scenes: a CLIP that affirms well denies badly, and training-free scorers help it.

Three seeds, each with worlds, questions and tuning split of its own. Questions are the balanced ones (no text says which
option is right) and those of NegBench's recipe (arXiv 2501.09425), whose texts give much away: there the bar is the type
prior, the best guess at an option's kind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from negscale.science.experiment import ScienceConfig, Seed
from negscale.science.methods import BASE, BLIND, FREE
from negscale.science.released_like import negmcq_exam
from negscale.science.scoring import blind_credits
from negscale.science.summary import cell_of, difference
from tests.acceptance.verdict import verdict

pytestmark = pytest.mark.acceptance
pytest.importorskip("torch", reason="the tiny CLIP runs in torch")
SEEDS = (0, 1, 2)
_WORLD = 50_000


@pytest.fixture(scope="module")
def credits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[int, Any]]:
    """Row -> seed -> credits of the pre-trained model, of the training-free scorer, and of the type prior."""
    root: Path = tmp_path_factory.mktemp("science")
    config = ScienceConfig(seeds=SEEDS, root=str(root))
    found: dict[str, dict[int, Any]] = {BASE: {}, FREE: {}, BLIND: {}}
    for number in SEEDS:
        seed = Seed(number, config, lambda line: None)
        seed.exams.append(negmcq_exam(seed.root, number, _WORLD + number, images=300))
        found[BASE][number], found[FREE][number] = seed.credits(BASE), seed.credits(FREE)
        found[BLIND][number] = blind_credits(seed.exams, "type prior", tasks=("choose_text",))
    return found


def figure(by_seed: dict[int, Any], column: str) -> dict[str, Any]:
    found = cell_of(by_seed, column)
    assert found is not None, f"no item of {column} was scored"
    return found


def shown(cell: dict[str, Any]) -> str:
    return f"{100 * cell['value']:.1f} [{100 * cell['low']:.1f}, {100 * cell['high']:.1f}]"


@pytest.mark.parametrize("exam", ["mcq", "negmcq"])
def test_affirmation_is_high_and_negation_near_or_below_the_blind_prior(credits: dict, exam: str) -> None:
    positive, negative = (figure(credits[BASE], f"{exam}_{kind}") for kind in ("positive", "negative"))
    prior = figure(credits[BLIND], f"{exam}_negative")
    chance = 0.25
    verdict(
        f"tiny CLIP, {exam}: affirmation above chance and above negation, intervals apart; negation not above the prior",
        positive["low"] > max(chance, negative["high"]) and negative["low"] <= max(prior["high"], chance),
        affirmation=shown(positive), negation=shown(negative), type_prior=shown(prior), chance=chance,
    )  # fmt: skip


def test_denials_cost_recall(credits: dict) -> None:
    plain, denying = (figure(credits[BASE], column) for column in ("retrieval", "retrieval_neg"))
    verdict(
        "tiny CLIP: recall at 5 falls when captions also deny, intervals apart", denying["high"] < plain["low"],
        retrieval=shown(plain), retrieval_neg=shown(denying),
    )  # fmt: skip


@pytest.mark.parametrize("column", ["mcq", "mcq_negative", "negmcq", "negmcq_negative", "retrieval_neg"])
def test_training_free_scorers_raise_it(credits: dict, column: str) -> None:
    gain = difference(credits, BASE, FREE, column)
    assert gain
    before, after = (figure(credits[name], column) for name in (BASE, FREE))
    verdict(
        f"training-free scorer on {column}: gain over the tiny CLIP, interval above 0", gain["low"] > 0,
        before=shown(before), after=shown(after), gain=shown(gain),
    )  # fmt: skip
