"""The committed trainings are what the papers say, and the verb runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from negscale import app
from negscale.cli import cli
from negscale.core import config as configs
from negscale.core.errors import ConfigError
from negscale.training.config import TrainConfig
from tests.unit.training.made_runs import caption_run
from tests.unit.training.tiny_clip import TINY


def recipe(name: str, *overrides: str) -> TrainConfig:
    fragment = app.read_fragments([f"recipes/train_clip_text_{name}"])
    return configs.load(TrainConfig, fragment, ["data=[{uri: runs/a}]", *overrides])


def test_the_released_recipe() -> None:
    made = recipe("negationclip_released")
    assert made.freeze == ("visual", "ln_final")
    assert (made.epochs, made.batch_rows, made.seed) == (15, 512, 42)
    assert made.optimiser.model_dump() == {
        "rate": 1e-6, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "decay_everything": True,
        "warm_up_steps": 0, "schedule": "constant", "clamp_logit_scale": False, "max_grad_norm": None,
    }  # fmt: skip
    assert not made.objective.mask_same_image
    assert (made.holdout.share, made.holdout.by) == (0.2, "row")


def test_the_corrected_recipe_differs_in_its_corrections_alone() -> None:
    released, corrected = (recipe(f"negationclip_{name}").model_dump() for name in ("released", "corrected"))

    def flat(value: object, prefix: str = "") -> dict[str, object]:
        if not isinstance(value, dict):
            return {prefix: value}
        return {k: v for key, inner in value.items() for k, v in flat(inner, f"{prefix}.{key}".lstrip(".")).items()}

    old, new = flat(released), flat(corrected)
    assert {key for key in old if old[key] != new[key]} == {
        "objective.mask_same_image", "holdout.by", "optimiser.decay_everything", "optimiser.warm_up_steps",
        "optimiser.clamp_logit_scale",
    }  # fmt: skip


def test_the_recipe_of_statements_needs_no_questions() -> None:
    made = recipe("statements")
    assert not made.questions
    assert made.objective.columns == ("caption", "negated_caption")
    assert made.blend == 0.7


@pytest.mark.parametrize(
    ("override", "why"),
    [
        ("objective.statement=0", "nothing would be learnt"),
        ("objective.hard_negatives=[denied_present]", "hard_negatives="),
    ],
)
def test_an_objective_without_its_terms_is_refused(override: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        recipe("statements", "objective.absence=0", override)


@pytest.mark.parametrize("name", ["negbench", "ours"])
def test_recipes_with_questions_ask_for_them(name: str) -> None:
    assert recipe(name, "questions=[{uri: runs/q, weight: 0.5}]").questions[0].weight == 0.5
    with pytest.raises(ConfigError, match="question term"):
        recipe(name)
    switch = {"negbench": "objective.alpha=1", "ours": "objective.question=0"}[name]
    assert not recipe(name, switch).objective.uses_questions


def test_the_verb_trains_goes_on_and_exports(tmp_path: Path) -> None:
    run = caption_run(tmp_path / "captions", (8, 8))
    fragment = tmp_path / "tiny.yaml"
    fragment.write_text(
        json.dumps({"model": TINY.model_dump(mode="json"), "runtime": {"run_root": str(tmp_path), "device": "cpu"}})
    )
    command = [
        "train",
        "train_clip_text_negationclip_released",
        "-c",
        str(fragment),
        f"data=[{{uri: {run}}}]",
        "epochs=2",
        "batch_rows=4",
        "--json",
    ]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["steps"] > 2
    assert facts["held_out"]["held_out_loss"] > 0
    again = CliRunner().invoke(cli, command)
    assert json.loads(again.stdout)["seconds"] == facts["seconds"]
    exported = CliRunner().invoke(cli, ["export", facts["folder"], "--to", "clip", "--json"])
    assert exported.exit_code == 0, exported.output
    assert (Path(json.loads(exported.stdout)["path"]) / "model.safetensors").is_file()
    wrong = CliRunner().invoke(cli, ["train", "negationclip_p1"])
    assert isinstance(wrong.exception, ConfigError)
