"""The recipe on drawn scenes, judged by the drawings."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import pytest

from negscale import app
from negscale.backends.realiser_merger import RealiserMergerConfig
from negscale.core.errors import ConfigError
from negscale.core.pipeline import apply_step
from negscale.core.schema import ENVELOPE
from negscale.datasets.toy_scenes import scene
from negscale.datasets.toyworld_vqa import ToyworldVqaConfig
from negscale.pipelines.negationclip_p2 import P2, P2Config, p2
from negscale.pipelines.registry import find_recipe
from tests.toy_truth import holds, words_in_order


def run(config: P2Config) -> list[dict[str, Any]]:
    """Every row after all steps, without an executor."""
    pipeline = p2(config)
    schema = pipeline.plan()
    rows: list[dict[str, Any]] = []
    for step in pipeline.steps:
        step.setup()  # pyright: ignore[reportAttributeAccessIssue]
    for shard in pipeline.source.list().shards:
        table = pipeline.source.read(shard, None)
        for number, step in enumerate(pipeline.steps):
            table = apply_step(step, table, number)
        assert set(table.column_names) == set(schema.names) >= set(ENVELOPE.names)
        rows += table.to_pylist()
    return rows


@pytest.mark.parametrize("merger", ["chat_merger", "realiser_merger"])
def test_kept_captions_are_true_of_their_scenes(merger: str) -> None:
    source = ToyworldVqaConfig(images=300)
    config = P2Config(source=source)
    if merger == "realiser_merger":
        config = P2Config(source=source, merger=RealiserMergerConfig(), caption_choice="related")
    rows = run(config)
    kept = [row for row in rows if row["rejection"] is None and row["quarantine"] is None]
    assert not [row for row in rows if row["quarantine"]]
    truths: Counter[bool | None] = Counter()
    for row in kept:
        number = re.fullmatch(r"toy-(\d+)", row["image_id"])
        assert number
        assert row["caption"] in row["image_captions"]
        assert words_in_order(row["caption"].rstrip("."), row["negated_caption"]), row["negated_caption"]
        truths[holds(scene(source.seed, int(number[1])), row["question"])] += 1
    precision = truths[False] / (truths[False] + truths[True])
    print(
        f"{merger}: {len(rows)} questions, {len(kept)} kept, precision {precision:.4f}, matters of taste {truths[None]}"
    )
    assert len(kept) > 0.3 * len(rows)
    assert precision > 0.99
    assert set(Counter(row["negation_kind"] for row in kept)) == {"object", "attribute", "action"}
    assert {"no", "not", "without"} <= {row["negation_form"] for row in kept}
    refused = Counter(row["rejection"]["reason"] for row in rows if row["rejection"])
    for reason in ("answer_not_no", "too_few_no", "denies_caption_content"):
        assert refused[reason], reason


def test_annotators_and_captions_guard_the_truth() -> None:
    """A bare majority is wrong at times; most of that is caught when the captions say enough, the rest by 8 of 10."""

    def errors(min_no: int, captions: int) -> tuple[int, int]:
        source = ToyworldVqaConfig(images=800, captions_per_image=captions)
        rows = run(P2Config(source=source, min_no=min_no, merger=RealiserMergerConfig()))
        kept = [row for row in rows if row["rejection"] is None]
        assert all(row["no_votes"] >= min_no for row in kept)
        return len(kept), sum(holds(scene(0, int(row["image_id"][4:])), row["question"]) is True for row in kept)

    careless, informed, strict = errors(1, 1), errors(1, 5), errors(8, 1)
    print(f"(kept, wrong): majority {careless}, with five captions {informed}, 8 of 10 {strict}")
    assert careless[1] / careless[0] > 2 * informed[1] / informed[0]
    assert careless[1] / careless[0] > 2 * strict[1] / strict[0]


def test_shipped_configs_load() -> None:
    _, config = app.load_config("negationclip_p2")
    assert config == P2Config()
    _, cpu = app.load_config("negationclip_p2", ["backends/p2_photos_cpu"], ["source={kind: vqa, root: /data}"])
    assert (cpu.merger.kind, cpu.source.kind, cpu.source.split) == ("realiser_merger", "vqa", "train2014")
    _, paper = app.load_config("negationclip_p2", ["backends/negationclip_p2_paper"])
    assert paper.merger.chat.model == "meta-llama/Meta-Llama-3-8B-Instruct"
    with pytest.raises(ConfigError, match="toyworld_vqa"):
        app.load_config("negationclip_p2", [], ["source.kind=coco"])


def test_the_recipe_is_registered_and_needs_no_preparation() -> None:
    assert find_recipe("negationclip_p2") is P2
    config = P2Config()
    assert P2.prepare(config, P2.source(config).list()) is config
    assert P2.backends(config)["merger"].exact
