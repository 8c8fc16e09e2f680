"""The parquet export: what `datasets` reads, the columns, the files, the card, the refusals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from negscale.core.errors import PlanError
from negscale.core.schema import IMAGE
from negscale.exports.licences import licence_of
from negscale.exports.parquet import export_parquet
from tests.unit.exports.folders import SCHEMA, broken, make_run, rejected, row

LOAD = """
import json, sys
from datasets import load_dataset
rows = load_dataset(sys.argv[1], split="train")
print(json.dumps({"ids": rows["id"][:], "columns": rows.column_names, "first": rows[0], "features": str(rows.features)}))
"""


def load_with_datasets(folder: Path, scratch: Path) -> dict[str, Any]:
    """What a fresh process with no network sees."""
    home = {
        "HF_HOME": str(scratch / "hf"),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder)], capture_output=True, text=True, env=home, timeout=240
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def _front_matter(folder: Path) -> tuple[dict[str, Any], str]:
    _, front, body = (folder / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(front), body


def test_datasets_reads_it_offline(tmp_path: Path) -> None:
    shards = [
        [row(f"{s:02d}-{i:02d}", f"{s}", f"{s}{i}") for i in range(10)] + [rejected(f"{s:02d}-r")] for s in range(7)
    ]
    out = tmp_path / "export"
    result = export_parquet(make_run(tmp_path / "run", shards), str(out), rows_per_file=30)
    assert (result.rows, result.files) == (70, 3)
    seen = load_with_datasets(out, tmp_path)
    assert seen["ids"] == [f"{s:02d}-{i:02d}" for s in range(7) for i in range(10)]
    assert seen["columns"] == [
        "id", "image_uri", "image_offset", "image_length", "image_sha256", "height_px", "width_px", "caption",
        "image_captions", "image_id", "caption_id", "absent_object", "proposal_score", "presence_score", "verifier_raw",
        "negated_caption", "negation_form", "negation_position",
    ]  # fmt: skip
    assert seen["first"] == {
        "id": "00-00", "image_uri": "val2017/0.jpg", "image_offset": None, "image_length": None, "image_sha256": "01" * 32,
        "height_px": 480, "width_px": 640, "caption": "a dog beside 00-00", "image_captions": ["a dog beside 00-00", "a dog"],
        "image_id": "0", "caption_id": "00", "absent_object": "cat", "proposal_score": 0.5, "presence_score": 0.125,
        "verifier_raw": "no", "negated_caption": "a dog beside 00-00 without a cat", "negation_form": "without",
        "negation_position": "late",
    }  # fmt: skip


def test_files_end_at_their_row_and_byte_limits(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [[row(f"{s:02d}-{i:03d}", "1", "1") for i in range(37)] for s in range(6)])
    export_parquet(run, str(tmp_path / "rows"), rows_per_file=50)
    files = sorted((tmp_path / "rows" / "data").iterdir())
    assert [f.name for f in files] == [f"train-{i:05d}-of-00005.parquet" for i in range(5)]
    assert [pq.read_metadata(f).num_rows for f in files] == [50, 50, 50, 50, 22]
    ids = [i for f in files for i in pq.read_table(f)["id"].to_pylist()]
    assert ids == sorted(ids)
    assert len(set(ids)) == 222
    export_parquet(run, str(tmp_path / "bytes"), rows_per_file=40, bytes_per_file=1)
    assert len(list((tmp_path / "bytes" / "data").iterdir())) == 6


def test_exactly_full_files_leave_no_empty_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [[row(f"{i:03d}", "1", "1") for i in range(100)]])
    assert export_parquet(run, str(tmp_path / "out"), rows_per_file=50).files == 2


def test_other_columns_are_carried_and_other_images_flattened(tmp_path: Path) -> None:
    schema = SCHEMA.append(pa.field("image_with_object", IMAGE)).append(
        pa.field("boxes", pa.list_(pa.list_(pa.float32())))
    )
    second = {"uri": "b.png", "offset": 1, "length": 2, "sha256": b"\2" * 32, "height_px": 3, "width_px": 4}
    rows = [
        row("a", "1", "1", image_with_object=second, boxes=[[1.0, 2.0]]),
        row("b", "1", "2", uri=None, image_with_object=None, boxes=None),
    ]
    export_parquet(make_run(tmp_path / "run", [rows], schema), str(tmp_path / "out"))
    table = pq.read_table(next((tmp_path / "out" / "data").iterdir()))
    first, last = table.to_pylist()
    assert (first["image_with_object_uri"], first["image_with_object_height_px"], first["boxes"]) == (
        "b.png",
        3,
        [[1, 2]],
    )
    assert first["image_with_object_sha256"] == "02" * 32
    assert last["image_uri"] is None
    assert last["height_px"] is None
    assert last["image_with_object_sha256"] is None


def test_clashing_columns_are_refused(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run", [[row("a", "1", "1", height_px=1)]], SCHEMA.append(pa.field("height_px", pa.int32()))
    )
    with pytest.raises(PlanError, match="height_px"):
        export_parquet(run, str(tmp_path / "out"))


def test_a_run_that_kept_nothing_still_has_its_columns(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export_parquet(make_run(tmp_path / "run", [[rejected("r")]]), str(out)).rows == 0
    assert pq.read_table(out / "data" / "train-00000-of-00001.parquet").num_rows == 0
    assert "n<1K" in (out / "README.md").read_text()


def test_a_full_or_unfinished_target_is_refused(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [[row("a", "1", "1")]])
    (tmp_path / "out").mkdir()
    export_parquet(run, str(tmp_path / "out"))  # an empty folder is fine
    with pytest.raises(PlanError, match="already holds something"):
        export_parquet(run, str(tmp_path / "out"))
    unfinished = make_run(tmp_path / "unfinished", [[row("a", "1", "1")]], finish=False)
    with pytest.raises(PlanError, match="not finished"):
        export_parquet(unfinished, str(tmp_path / "other"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "run", "unfinished"]


def test_the_card_counts_what_is_there(tmp_path: Path) -> None:
    kept = [row(f"k{i:03d}", "1", "1", negation_form="no" if i < 30 else "without") for i in range(40)]
    refused = [rejected(f"r{i}") for i in range(8)] + [rejected("s", "check_negated_caption", "new_object")]
    run = make_run(tmp_path / "run", [[*kept, *refused, broken("q")]])
    export_parquet(run, str(tmp_path / "out"))
    front, body = _front_matter(tmp_path / "out")
    assert front["license"] == "other"
    assert front["size_categories"] == ["n<1K"]
    assert front["configs"] == [
        {"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}
    ]
    assert "negation" in front["tags"]
    assert "Images and original captions keep the licences of their source" in body
    assert "| no | 30 | 75.0% |" in body
    assert "| late | 40 | 100.0% |" in body
    assert "| `verify_absent/object_present` | 8 | 16.0% |" in body
    assert "| `negate_caption/unparsable` | 1 | 2.0% |" in body
    assert "found the proposed object in 8 of 49 images" in body  # 8 present + 40 kept + 1 refused after the verifier
    assert "[Meta Llama 3 Community License]" in body
    assert "`vllm/meta-llama/Meta-Llama-3-8B-Instruct@5f0b02c`" in body
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.fingerprint in body
    assert manifest.content_digest in body
    assert "captions_sha256: cd34" in body
    assert "precision on these images is unknown" in body
    examples = body.partition("## Examples")[2].partition("##")[0]
    assert examples.count("without a cat") == 5


def test_the_card_takes_a_licence_when_one_is_given(tmp_path: Path) -> None:
    export_parquet(make_run(tmp_path / "run", [[row("a", "1", "1")]]), str(tmp_path / "out"), license_id="cc-by-4.0")
    front, body = _front_matter(tmp_path / "out")
    assert front["license"] == "cc-by-4.0"
    assert "No licence was given" not in body


def test_hostile_captions_stay_text(tmp_path: Path) -> None:
    text = "a | b\n---\n# x <script>alert(1)</script> [l](javascript:1) `c`"
    export_parquet(make_run(tmp_path / "run", [[row("a", "1", "1", caption=text)]]), str(tmp_path / "out"))
    front, body = _front_matter(tmp_path / "out")
    assert front["configs"]
    assert "<script>" not in body
    assert "\n# x" not in body
    line = next(line for line in body.splitlines() if line.startswith("| a |"))
    assert line.replace("\\|", "").count("|") == 8  # seven cells


def test_places_do_not_leave_and_the_recipe_holds_config_keys_only(tmp_path: Path) -> None:
    export_parquet(make_run(tmp_path / "run", [[row("a", "1", "1")]]), str(tmp_path / "out"))
    text = (tmp_path / "out" / "recipe.yaml").read_text()
    assert yaml.safe_load(text) == {
        "seed": 3, "source": {"kind": "coco", "split": "val2017"}, "checks": [{"kind": "words"}]
    }  # fmt: skip
    everything = text + (tmp_path / "out" / "README.md").read_text()
    assert "/data/" not in everything
    assert "secret-bucket" not in everything
    assert str(tmp_path) not in everything
    assert "source.root, checks.0.path" in text
    assert "source.captions" not in everything  # left empty: nothing to give


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        ("vllm/meta-llama/Meta-Llama-3-8B-Instruct@abc", "Meta Llama 3 Community License"),
        ("vllm/llava-hf/llava-v1.6-mistral-7b-hf@main", "Apache-2.0"),
        ("vllm/llava-hf/llava-v1.6-vicuna-7b-hf@main", "https://huggingface.co/llava-hf/llava-v1.6-vicuna-7b-hf"),
        ("vllm/local-model@files-12", "see the model's page"),
        ("tiny/chat@1", "part of negscale"),
        ("negscale/realiser@1", "part of negscale"),
        ("cooccurrence/80@12", "whose licence applies"),
        ("detector_judge(onnx/yolox/yolox_s@12)@34", "see the pages"),
    ],
)
def test_licences_are_known_or_pointed_at(backend: str, expected: str) -> None:
    assert expected in licence_of(backend)
