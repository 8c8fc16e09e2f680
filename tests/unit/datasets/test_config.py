from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from negscale.core.config import Config, load
from negscale.core.errors import ConfigError
from negscale.datasets.config import SourceConfig
from negscale.datasets.toyworld import ToyworldConfig


class Recipe(Config):
    source: SourceConfig = ToyworldConfig()


@pytest.mark.parametrize("kind", ["toyworld", "coco", "image_folder", "parquet", "webdataset", "img2dataset", "voc"])
def test_kinds_build_and_travel_to_workers(kind: str, tmp_path: Path) -> None:
    overrides = [f"source.kind={kind}", *([] if kind == "toyworld" else [f"source.root={tmp_path}"])]
    chosen = load(Recipe, [], overrides).source
    assert chosen.kind == kind
    source = pickle.loads(pickle.dumps(chosen.build()))  # noqa: S301 - our own object
    assert source.config == chosen
    assert source.schema.names[0] == "image"
    assert pickle.loads(pickle.dumps(chosen.reader())).root == ("" if kind == "toyworld" else str(tmp_path))  # noqa: S301 - our own object


@pytest.mark.parametrize("kind", ["coco", "image_folder", "parquet", "webdataset", "img2dataset", "voc"])
def test_where_the_data_lies_bears_no_identity(kind: str) -> None:
    here, there = (load(Recipe, [], [f"source.kind={kind}", f"source.root={root}"]) for root in ("/a", "s3://b/c"))
    assert here.identity() == there.identity()


def test_unknown_keys_and_kinds_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'split'"):
        load(Recipe, [], ["source.kind=coco", "source.root=x", "source.splits=val"])
    with pytest.raises(ConfigError, match="webdatset"):
        load(Recipe, [], ["source.kind=webdatset"])
