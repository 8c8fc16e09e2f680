"""Promise: P1 through the real vLLM engine, with tiny trained models, keeps rows whose absences are true.

The drawings are the truth. That the verifier looks at the pictures is shown by a second run in which it is given other
scenes' pictures: the absences that run keeps are true no more often than those of any proposal.

Models, prompts, sampling and thresholds are those of the shipped fragment; the proposer and the negater, which are one
model, share one engine here, because each takes a minute to start.
"""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from negscale.app import load_config
from negscale.backends.chat_roles import ChatJudge, ChatNegater, ChatProposer
from negscale.backends.config import resources_of
from negscale.core.backend import Image
from negscale.core.pipeline import Pipeline
from negscale.core.stage import Resources
from negscale.datasets.toy_scenes import Scene, draw, scene
from negscale.executors.drive import generate
from negscale.executors.local import LocalExecutor
from negscale.metrics.statistics import wilson_interval
from negscale.stages.captions import CheckNegatedCaption, NegateCaption
from negscale.stages.objects import ProposeAbsentObject, VerifyAbsent
from negscale.storage.audit import audit
from negscale.storage.run_folder import RunFolder
from tests.acceptance.verdict import verdict
from tests.support import spec_of

IMAGES = 240
KEPT, PRECISION, CHANCE = 0.60, 0.95, 0.08
SCENE = re.compile(r"toyworld:(\d+)/(\d+)")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(2400),
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None,
        reason='vLLM is not installed: pip install "negscale[cpu]" with an override of torch==2.13.0',
    ),
]
Row = Mapping[str, Any]


def scene_of(ref: Mapping[str, Any], further: int = 0) -> Scene:
    """The scene of an image reference, or the one `further` numbers on."""
    found = SCENE.fullmatch(ref["uri"])
    assert found
    return scene(int(found[1]), int(found[2]) + further)


class OtherScenes:
    """Reads the picture of a scene far away instead."""

    def read(self, ref: Mapping[str, Any]) -> Image:
        return draw(scene_of(ref, further=10_000))


@pytest.fixture(scope="module")
def config() -> Any:
    return load_config(
        "negationclip_p1", ["backends/tiny_vllm"], [f"source.images={IMAGES}", "source.captions_per_image=1"]
    )[1]


@pytest.fixture(scope="module")
def models(config: Any) -> Iterator[tuple[Any, Any]]:
    """(text model, multimodal model), loaded."""
    assert config.proposer.chat == config.negater.chat
    text, vision = config.proposer.chat.build(), config.verifier.chat.build()
    try:
        text.load()
        vision.load()
        yield text, vision
    finally:
        text.close()
        vision.close()


def run_of(root: Path, version: str, config: Any, models: tuple[Any, Any], images: Any) -> RunFolder:
    """A finished, audited run of P1's stages."""
    text, vision = models
    proposer, judge, negater = ChatProposer(text), ChatJudge(vision, config.verifier.question), ChatNegater(text)
    seed, attempts = config.seed, config.max_attempts
    steps = (
        ProposeAbsentObject(lambda: proposer, config.strategy, seed, attempts, resources_of(config.proposer)),
        VerifyAbsent(lambda: judge, images, seed, attempts, resources_of(config.verifier)),
        NegateCaption(lambda: negater, seed, attempts, resources_of(config.negater)),
        CheckNegatedCaption(config.check.options(), Resources()),
    )
    pipeline = Pipeline("negationclip/p1", config.source.build(), steps)
    spec = spec_of(root, lambda: pipeline, version)
    generate(spec, LocalExecutor(), pipeline.source.list())
    run = RunFolder(spec.uri)
    assert audit(run).passed
    return run


def rows(run: RunFolder, kind: str) -> list[Row]:
    return [row for _, table in run.tables(kind) for row in table.to_pylist()]


def truly_absent(found: Sequence[Row]) -> float:
    """Share of rows whose object is not in their drawing."""
    return sum(row["absent_object"] not in scene_of(row["image"]).names for row in found) / len(found)


def test_p1_through_vllm_keeps_true_absences(tmp_path: Path, config: Any, models: tuple[Any, Any]) -> None:
    run = run_of(tmp_path, "pictures", config, models, config.source.reader())
    blind = run_of(tmp_path, "other-pictures", config, models, OtherScenes())
    total, kept, kept_blind = IMAGES * config.source.captions_per_image, rows(run, "data"), rows(blind, "data")
    verified = kept + [row for row in rows(run, "rejected") if row["presence_score"] is not None]
    for row in kept[:: max(1, len(kept) // 15)]:
        print(f"  [{row['absent_object']}] {row['caption']}  ->  {row['negated_caption']}")
    for each in (run, blind):
        manifest = json.loads(each.folder.read("manifest.json"))
        print(f"  kept {manifest['rows_kept']}, rejected {manifest['rejected']}, quarantined {manifest['quarantined']}")
    precision, base, without_sight = truly_absent(kept), truly_absent(verified), truly_absent(kept_blind)
    low, _ = wilson_interval(round(precision * len(kept)), len(kept))
    verdict(
        "P1 through vLLM with tiny models keeps true absences",
        len(kept) >= KEPT * total and precision >= PRECISION and abs(without_sight - base) <= CHANCE
        and low > max(base, without_sight),
        rows=total, kept=len(kept) / total, precision=precision, precision_low=low, base_rate=base,
        precision_with_other_pictures=without_sight, kept_with_other_pictures=len(kept_blind) / total,
    )  # fmt: skip
