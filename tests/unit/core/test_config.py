"""Configs: merging, refusals that help, and what bears identity."""

from __future__ import annotations

from pathlib import Path

import pytest

from negscale import app
from negscale.core.config import load, to_yaml
from negscale.core.errors import ConfigError
from negscale.core.run import fingerprint, first_difference
from negscale.pipelines.negationclip import P1Config


def test_later_fragments_and_overrides_win() -> None:
    config = load(
        P1Config, [("a", "seed: 1\nsource: {kind: toyworld, images: 5}"), ("b", "seed: 2")], ["source.images=7"]
    )
    assert (config.seed, config.source.images) == (2, 7)


def test_another_kind_replaces_the_block() -> None:
    config = load(P1Config, [("a", "source: {kind: toyworld, images: 5}"), ("b", "source: {kind: coco, root: x}")])
    assert config.source.kind == "coco"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sed=1", "'sed' is unknown; did you mean 'seed'"),
        ("runtime.executer=ray", "'runtime.executer' is unknown; did you mean 'executor'"),
        ("source.imagse=3", "did you mean 'images'"),
        ("source.kind=cocoa", "kind cocoa is unknown; known: .*'coco'"),
        ("seed=high", "'seed': got 'high'"),
        ("strategy=rand", "'strategy': got 'rand'"),
        ("seed", "not of the form dotted.key=value"),
        ("runtime.version=../up", "runtime.version"),
    ],
)
def test_a_wrong_key_or_value_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(P1Config, [("r", "source: {kind: toyworld}")], [override])


def test_broken_yaml_names_the_fragment() -> None:
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        load(P1Config, [("mine.yaml", "seed: [1")])


def test_places_and_runtime_bear_no_identity_but_models_and_thresholds_do() -> None:
    base = load(P1Config, [("r", "source: {kind: toyworld}")])
    moved = load(
        P1Config, [("r", "source: {kind: toyworld}")], ["runtime.run_root=/elsewhere", "runtime.executor=local"]
    )
    assert fingerprint(base.identity()) == fingerprint(moved.identity())
    for override, key in (
        ("seed=1", "seed"), ("strategy=random", "strategy"), ("check.max_words=50", "check.max_words"),
        ("negater.kind=realiser", "negater."), ("source.images=9", "source.images"),
    ):  # fmt: skip
        other = load(P1Config, [("r", "source: {kind: toyworld}")], [override])
        found = first_difference(base.identity(), other.identity())
        assert found is not None
        assert found[0].startswith(key)


def test_a_resolved_config_reads_back() -> None:
    recipe, config = app.load_config("negationclip_p1", ["backends/tiny"], ["seed=3"])
    assert load(recipe.config, [("again", to_yaml(config))]) == config


def test_unknown_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'negationclip_p1'"):
        app.load_config("negationclp_p1")
    with pytest.raises(ConfigError, match=r"known: .*backends/tiny"):
        app.load_config("negationclip_p1", ["backends/tinny"])


_CAPTIONS, _QUESTIONS = ("negbench_negcap", "negbench_retrieval_neg"), ("negbench_negmcq", "negbench_mcq_neg")
_USERS = {  # fragment -> recipes that it serves
    "tiny": ("negationclip_p1",), "photos_cpu": ("negationclip_p1",), "negationclip_paper": ("negationclip_p1",),
    "tiny_vllm": ("negationclip_p1",), "today": ("negationclip_p1",), "today_detector": ("negationclip_p1",),
    "negationclip_p2_paper": ("negationclip_p2",), "p2_photos_cpu": ("negationclip_p2",),
    "negbench_paper": (*_CAPTIONS, *_QUESTIONS), "negbench_paper_captions": _CAPTIONS,
    "negbench_paper_questions": _QUESTIONS, "negbench_paper_detector": ("negationclip_p1", *_CAPTIONS, *_QUESTIONS),
    "negbench_photos_cpu": _CAPTIONS, "negbench_annotated": _QUESTIONS,
    "nein_paper": ("nein",), "nein_paper_select": ("nein_select",), "nein_paper_edit": ("nein_edit",),
    "nein_paper_filter": ("nein_filter",), "nein_eval_paper": ("nein_eval",),
    "nein_photos_cpu": ("nein",), "hardneg_paper": ("negbench_hardneg_syn",),
}  # fmt: skip


def test_every_committed_fragment_loads_in_its_recipes() -> None:
    folder = Path(__file__).parents[3] / "configs" / "backends"
    assert {path.stem for path in folder.glob("*.yaml")} == set(_USERS)
    for fragment, recipes in _USERS.items():
        for recipe in recipes:
            app.load_config(recipe, [f"backends/{fragment}", "runtime/laptop"])
