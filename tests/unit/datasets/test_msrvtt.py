"""MSR-VTT's layout on a small file: captions of a clip together, splits and clip lists, nothing lost silently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from negscale.core.errors import ConfigError
from negscale.datasets.msrvtt import TABLE, MsrvttConfig

VIDEOS = [
    {"video_id": "video0", "split": "train", "category": 9, "start time": 137.72, "end time": 149.44, "id": 0},
    {"video_id": "video1", "split": "test", "start time": 0, "end time": 5},
    {"video_id": "video2", "split": "test"},
]
SENTENCES = [
    {"caption": "a man sings", "video_id": "video1", "sen_id": 3}, {"caption": "a car is shown", "video_id": "video0", "sen_id": 1},
    {"caption": "a car drives", "video_id": "video0", "sen_id": 0}, {"caption": "a car drives", "video_id": "video0", "sen_id": 2},
    {"caption": "bad\u0007", "video_id": "video1", "sen_id": 4}, {"caption": "a dog", "video_id": "video9", "sen_id": 5},
]  # fmt: skip


def write(root: Path, videos: Any = VIDEOS, sentences: Any = SENTENCES, **config: Any) -> MsrvttConfig:
    (root / "MSRVTT_data.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    return MsrvttConfig(root=str(root), **config)


def read(config: MsrvttConfig) -> list[dict[str, Any]]:
    source = config.build()
    listing, rows, at = source.list(), [], 0
    assert listing.index is not None
    for shard in listing.shards:
        table = source.read(shard, listing.index.slice(at, shard.rows))
        assert table.schema.equals(TABLE)
        at += shard.rows
        rows += table.to_pylist()
    return rows


def test_one_row_per_clip_with_its_captions_in_order(tmp_path: Path) -> None:
    rows = read(write(tmp_path, shard_rows=2))
    assert [row["id"] for row in rows] == ["video0", "video1", "video2", "video9"]
    assert rows[0]["captions"] == ["a car drives", "a car is shown"]
    assert rows[0]["video_uri"] == "videos/all/video0.mp4"
    assert (rows[0]["split"], rows[0]["start_s"]) == ("train", pytest.approx(137.72))
    assert rows[1]["captions"] == ["a man sings"]
    assert [row["quarantine"] and row["quarantine"]["kind"] for row in rows] == [
        None, None, "empty_caption", "missing_video_entry",
    ]  # fmt: skip
    assert write(tmp_path).build().list().identity["captions_left_out"] == 1


def test_splits_and_clip_lists(tmp_path: Path) -> None:
    config = write(tmp_path, splits=("test",))
    assert [row["id"] for row in read(config)] == ["video1", "video2"]
    assert config.build().list().identity["clips_left_out"] == 1
    (tmp_path / "1ka.csv").write_text("key,video_id,sentence\nret0,video0,a car\n")
    assert [row["id"] for row in read(write(tmp_path, clips="1ka.csv"))] == ["video0"]
    (tmp_path / "1ka.csv").write_text("video_id\nvideo77\n")
    with pytest.raises(ConfigError, match="video77"):
        read(write(tmp_path, clips="1ka.csv"))
    (tmp_path / "1ka.csv").write_text("video\nvideo0\n")
    with pytest.raises(ConfigError, match=r"no column 'video_id'.*\['video'\]"):
        read(write(tmp_path, clips="1ka.csv"))
    with pytest.raises(ConfigError, match=r"\['test', 'train'\]"):
        read(write(tmp_path, splits=("val",)))


def test_bad_entries_are_rows(tmp_path: Path) -> None:
    rows = read(write(tmp_path, videos=[*VIDEOS, {"split": "test"}, VIDEOS[0]], sentences=SENTENCES[:5]))
    assert [(row["id"], row["quarantine"]["kind"]) for row in rows if row["quarantine"]] == [
        ("video2", "empty_caption"), ("entry-3", "schema"), ("video0~4", "duplicate_id"),
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="no list 'sentences'"):
        read(write(tmp_path, sentences={}))
