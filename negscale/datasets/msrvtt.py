"""MSR-VTT: one row per video clip with all its captions (about 20), for video questions and retrieval with negation.

NegBench (arXiv 2501.09425, section 3 and appendix D) makes its video tasks from this file. The layout is one JSON,
``{"videos": [{video_id, split, "start time", "end time", ...}], "sentences": [{video_id, sen_id, caption}]}``, its
sentences in no order; here the captions of a clip stand in the order of `sen_id`. NegBench's 1,000 test clips are a
list of ids of their own (`clips`).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from negscale.core.config import Config, Location
from negscale.core.errors import ConfigError
from negscale.core.pipeline import Listing, Shard
from negscale.core.schema import ENVELOPE, VIDEO
from negscale.datasets.captions import MAX_CAPTION_WORDS, clean_caption, fault, storable
from negscale.datasets.coco import parse_coco
from negscale.datasets.indexed import indexed_listing, read_config_file, slice_of_index
from negscale.storage.folder import open_folder

TABLE = pa.schema([*ENVELOPE, *VIDEO])


class MsrvttConfig(Config):
    """MSR-VTT's layout."""

    kind: Literal["msrvtt"] = "msrvtt"
    root: Location
    """Folder or URI that holds the JSON file and the videos."""
    captions: Location = "MSRVTT_data.json"
    """The file with the lists `videos` and `sentences`."""
    video_folder: Location = "videos/all"
    """Folder of the clips below root."""
    extension: str = ".mp4"
    """Of the clips' files."""
    splits: tuple[str, ...] = ()
    """Only clips of these splits, e.g. [test]; empty = all."""
    clips: Location = ""
    """CSV with a column video_id: only these clips (the 1k-A test list); their split does not matter then."""
    max_caption_words: int = Field(default=MAX_CAPTION_WORDS, ge=1)
    """Longer captions are left out of their clip's list."""
    shard_rows: int = Field(default=256, ge=1)
    """Clips in a unit of work."""

    def build(self) -> MsrvttSource:
        """The source."""
        return MsrvttSource(self)


class MsrvttSource:
    """Rows "video7010", in the order of the file."""

    schema = VIDEO

    def __init__(self, config: MsrvttConfig) -> None:
        self.config = config

    def list(self) -> Listing:
        """Parses the JSON once; its rows are the index. Raises ConfigError for other layouts and unknown splits."""
        config = self.config
        folder = open_folder(config.root)
        data = read_config_file(folder, config.captions, "source.captions")
        only: frozenset[str] | None = None
        identity: dict[str, Any] = {"captions_sha256": sha256(data).hexdigest()}
        if config.clips:
            listed = read_config_file(folder, config.clips, "source.clips")
            only = clip_ids(listed, config.clips)
            identity["clips_sha256"] = sha256(listed).hexdigest()
        rows, left_out = video_rows(parse_coco(data, config.captions, ("videos", "sentences")), config, only)
        return indexed_listing("msrvtt", rows, config.shard_rows, {**identity, **left_out})

    def read(self, shard: Shard, index: pa.Table | None) -> pa.Table:
        """The shard's slice of the index."""
        return slice_of_index(shard, index)


def clip_ids(data: bytes, name: str) -> frozenset[str]:
    """The values of the column video_id. Raises ConfigError naming the columns that there are."""
    reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig", "replace"), newline=""))
    if "video_id" not in (reader.fieldnames or ()):
        raise ConfigError(f"source.clips: {name} has no column 'video_id'; its columns are {reader.fieldnames}")
    return frozenset(row["video_id"] for row in reader if row["video_id"])


def video_rows(
    content: Mapping[str, Any], config: MsrvttConfig, only: frozenset[str] | None = None
) -> tuple[pa.Table, dict[str, int]]:
    """(rows, what was left out and how often). only: the clips that are wanted, whatever their split.

    A clip without a usable caption, and captions of a clip that is not listed, give quarantined rows.
    """
    said = _captions_by_video(content["sentences"])
    rows: dict[str, dict[str, Any]] = {}
    counts = {"clips_left_out": 0, "captions_left_out": 0}
    splits: set[str] = set()
    for number, video in enumerate(content["videos"]):
        name = video.get("video_id") if isinstance(video, dict) else None
        if not isinstance(name, str) or not name:
            rows[f"entry-{number}"] = _row(
                f"entry-{number}", {}, [], config, fault("schema", f"video entry without video_id: {str(video)[:200]}")
            )
            continue
        captions, bad = _usable(said.pop(name, []), config.max_caption_words)
        splits.add(str(video.get("split")))
        if (only is not None and name not in only) or (
            only is None and config.splits and video.get("split") not in config.splits
        ):
            counts["clips_left_out"] += 1
            continue
        counts["captions_left_out"] += bad
        problem = None if captions else fault("empty_caption", f"the clip has no usable caption ({bad} unusable)")
        if name in rows:
            name = f"{name}~{number}"
            problem = fault("duplicate_id", f"video_id {video['video_id']!r} occurred before; kept as {name!r}")
        rows[name] = _row(name, video, captions, config, problem)
    for name, sentences in said.items() if only is None and not config.splits else ():
        captions, bad = _usable(sentences, config.max_caption_words)
        counts["captions_left_out"] += bad
        rows[name] = _row(name, {}, captions, config, fault("missing_video_entry", f"{name!r} is not in 'videos'"))
    if only is not None and (missing := sorted(only - rows.keys())):
        raise ConfigError(f"source.clips names {len(missing)} clips that are not in 'videos', e.g. {missing[:3]}")
    if not rows:
        raise ConfigError(f"source.splits={list(config.splits)}: no clip is left; the file has {sorted(splits)}")
    return pa.Table.from_pylist(list(rows.values()), schema=TABLE), counts


def _captions_by_video(sentences: Sequence[Any]) -> dict[str, list[Any]]:
    """Raw captions of each clip in the order of sen_id; entries without one keep their place in the file."""
    entries: list[tuple[str, float, int, Any]] = []
    for number, sentence in enumerate(sentences):
        if isinstance(sentence, dict):
            place = sentence.get("sen_id")
            rank = float(place) if isinstance(place, int) else float(number)
            entries.append((str(sentence.get("video_id")), rank, number, sentence.get("caption")))
    said: dict[str, list[Any]] = {}
    for name, _, _, caption in sorted(entries, key=lambda entry: entry[1:3]):
        said.setdefault(name, []).append(caption)
    return said


def _usable(captions: Sequence[Any], max_words: int) -> tuple[list[str], int]:
    """(different captions that can be used, number of those that cannot)."""
    cleaned = [clean_caption(caption if isinstance(caption, str) else None, max_words) for caption in captions]
    good = [text for text, problem in cleaned if problem is None]
    return list(dict.fromkeys(good)), len(cleaned) - len(good)


def _row(
    name: str,
    video: Mapping[str, Any],
    captions: Sequence[str],
    config: MsrvttConfig,
    problem: Mapping[str, Any] | None,
) -> dict[str, Any]:
    video_id = storable(str(video.get("video_id") or name))
    return {
        "id": storable(name), "rejection": None, "quarantine": problem,
        "video_uri": f"{config.video_folder.strip('/')}/{video_id}{config.extension}".lstrip("/"), "video_id": video_id,
        "captions": captions, "split": str(video["split"]) if "split" in video else None,
        "start_s": _seconds(video.get("start time")), "end_s": _seconds(video.get("end time")),
    }  # fmt: skip


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and value >= 0 else None
