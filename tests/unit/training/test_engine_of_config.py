"""Which engine a config asks for, and where the workers of one are."""

from __future__ import annotations

import pytest

from negscale import app
from negscale.core import config as configs
from negscale.core.errors import ConfigError
from negscale.ray_training import callback
from negscale.training.config import TrainConfig


def made(*overrides: str) -> TrainConfig:
    fragment = app.read_fragments(["recipes/train_clip_text_negationclip_corrected"])
    return configs.load(TrainConfig, fragment, ["data=[{uri: runs/a}]", *overrides])


def test_engine_and_workers_bear_no_identity() -> None:
    plain = made()
    elsewhere = made(
        "runtime.executor=ray", "runtime.engine=deepspeed", "runtime.deepspeed=zero1", "runtime.ray.workers=[2,8]"
    )
    assert elsewhere.runtime.ray.workers == (2, 8)
    assert plain.identity() == elsewhere.identity()


@pytest.mark.parametrize("workers", ["0", "[3,2]", "[0,4]"])
def test_numbers_of_workers_that_make_no_sense(workers: str) -> None:
    with pytest.raises(ConfigError, match="min <= max"):
        made(f"runtime.ray.workers={workers}")


def test_an_unknown_engine_is_answered() -> None:
    with pytest.raises(ConfigError, match=r"runtime\.engine"):
        made("runtime.engine=fsdp")
    with pytest.raises(ConfigError, match="did you mean 'workers'"):
        made("runtime.ray.worker=2")


def test_the_metrics_callback_is_found_or_refused() -> None:
    assert callback("") is None
    assert callback("json:dumps") is __import__("json").dumps
    for name, message in (("json", "package.module:function"), ("no.such:f", "no"), ("json:decoder", "is no function")):
        with pytest.raises(ConfigError, match=message):
            callback(name)


def test_the_fragment_for_spot_nodes_is_read() -> None:
    fragments = app.read_fragments(["recipes/train_clip_text_negationclip_corrected", "runtime/train_spot"])
    runtime = configs.load(TrainConfig, fragments, ["data=[{uri: runs/a}]"]).runtime
    assert (runtime.executor, runtime.engine, runtime.ray.workers) == ("ray", "deepspeed", (2, 16))
