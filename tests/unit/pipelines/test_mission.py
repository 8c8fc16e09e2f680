"""A mission from data to figures on drawn scenes, with the real recipes; started again it makes nothing anew."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from negscale import app
from negscale.benchmarks.cells import read_suite
from negscale.core.errors import ConfigError
from negscale.mission import Mission, load_mission
from negscale.tiny_models.files import folder_of
from tests.unit.benchmarks.toy_suite import make_files

pytest.importorskip("torch")
pytest.importorskip("open_clip")

SCENES = ["runtime.executor=local", "source.images=48", "source.shard_rows=24"]


def written(folder: Path, content: dict) -> str:
    path = folder / "mission.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def encoder_mission(folder: Path) -> dict:
    words = f"{{kind: hf_dual_encoder, model: negscale/tiny-clip, path: {folder_of('encoder')}, run: {{device: cpu}}}}"
    return {
        "generate": {
            "negcap": {"recipe": "negbench_negcap", "set": [*SCENES, "writer={kind: realiser}"]},
            "negmcq": {"recipe": "negbench_negmcq", "set": [*SCENES, "rephraser={kind: grammar_rephraser}"]},
        },
        "train": {
            "recipe": "train_clip_text_ours",
            "set": [
                f"model={words}", "data=[{uri: '@{negcap}'}]", "questions=[{uri: '@{negmcq}'}]", "batch_rows=16", "max_steps=6",
                "question_rows=8", "optimiser.rate=1e-3", "optimiser.warm_up_steps=1", "runtime.device=cpu",
            ],
        },
        "evaluate": {"recipe": "all", "set": ["data_root=@{benchmarks}", "runtime.executor=local"]},
        "benchmarks": str(make_files(folder / "bench", 12)),
        "run_root": str(folder / "runs"),
    }  # fmt: skip


def stamps(root: Path) -> dict[str, int]:
    """When each file of the runs and of the training was written."""
    kept = [path for name in ("negbench", "train") for path in (root / "runs" / name).rglob("*.*") if path.is_file()]
    return {str(path): path.stat().st_mtime_ns for path in kept if path.suffix in (".parquet", ".safetensors", ".pt")}


def test_an_encoder_mission_ends_in_a_report_and_started_again_makes_nothing_anew(tmp_path: Path) -> None:
    name = written(tmp_path, encoder_mission(tmp_path))
    facts = Mission(load_mission(name, [], []), Console(quiet=True)).run()
    suite = read_suite(facts["evaluation"])
    assert [model.key for model in suite.models] == ["before", "tuned"]
    assert all(("negbench/mcq-coco", key) in suite.cells for key in ("before", "tuned"))
    assert Path(facts["report"]).stat().st_size > 10_000
    lineage = json.loads(Path(facts["model"], "negscale.json").read_text())
    assert {run["run"] for run in lineage["data"]} == {"negbench/negcap", "negbench/negmcq"}
    before = stamps(tmp_path)
    assert len(before) > 4
    again = Mission(load_mission(name, [], []), Console(quiet=True)).run()
    assert again == facts
    assert stamps(tmp_path) == before


def test_a_mission_makes_its_own_benchmarks(tmp_path: Path) -> None:
    content = encoder_mission(tmp_path)
    content.pop("benchmarks")
    content["generate"]["denials"] = {
        "recipe": "negbench_retrieval_neg", "set": [*SCENES, "source.seed=5", "writer={kind: template_negater}"]
    }  # fmt: skip
    content["exams"] = {
        "retrieval_neg": {"run": "denials"},
        "balanced": {"build": "negmcq_balanced", "set": ["source.images=3000", "options.questions=100"]},
    }
    content["evaluate"]["set"].append("image_root=@{benchmarks}")
    name = written(tmp_path, content)
    facts = Mission(load_mission(name, [], []), Console(quiet=True)).run()
    suite = read_suite(facts["evaluation"])
    wanted = {"retrieval", "retrieval-neg", "mcq-balanced", "mcq-balanced-pairs"}
    assert {benchmark for benchmark, _ in suite.cells} == {f"negscale/{name}" for name in wanted}
    assert all(cell.items and not cell.missing for cell in suite.cells.values())
    table = tmp_path / "runs/benchmarks/dev/retrieval_neg/captions.csv"
    before = table.stat().st_mtime_ns
    Mission(load_mission(name, [], []), Console(quiet=True)).run()
    assert table.stat().st_mtime_ns == before


def test_an_editor_mission_prints_the_paper_beside_its_own(tmp_path: Path) -> None:
    pytest.importorskip("diffusers")
    small = [
        "editor.size_px=32",
        "editor.multiple_px=16",
        "editor.steps=2",
        "editor.dtype=float32",
        "editor.run.device=cpu",
    ]
    name = written(tmp_path, {
        "generate": {"nein": {"recipe": "nein", "set": [
            "runtime.executor=local", "source.images=12", "source.shard_rows=12", "selection.edits=1",
            "selection.eval_share=0.5", "filter.above=0", "filter.max_change_outside=null",
        ]}},
        "train": {"recipe": "edit_nein", "set": [
            f"model={{model: tiny/editor, path: {folder_of('editor')}, dtype: float32}}", "data=[{uri: '@{nein}'}]",
            "size_px=32", "batch_rows=2", "max_steps=2", "precision=float32", "runtime.device=cpu", "ema=null",
        ]},
        "evaluate": {"recipe": "nein", "set": [
            "runtime.executor=local", "source={kind: run, uri: '@{nein}'}", "split=eval", "report.draws=100", *small,
        ]},
        "run_root": str(tmp_path / "runs"),
    })  # fmt: skip
    console = Console(record=True, width=200, quiet=False, file=(tmp_path / "log").open("w"))
    facts = Mission(load_mission(name, [], []), console).run()
    assert facts["evaluation"].keys() == {"before", "tuned"}
    shown = console.export_text()
    assert "93.62" in shown  # the paper's removal after tuning
    assert "paper / ours" in shown


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"evaluate": {"recipe": "nein"}}, "is measured by all"),
        ({"train": {"recipe": "train_clip_text_ours", "set": ["data=[{uri: '@{negcup}'}]"]}}, "negcup"),
        ({"benchmarks": ""}, "set benchmarks=FOLDER"),
        ({"generate": {"data": {"recipe": "negbench_negcap"}}}, "none of data, benchmarks, images"),
        ({"generate": {"negcap": {"recipe": "negbench_negcap", "set": ["source.imges=3"]}}}, "did you mean 'images'"),
        ({"exams": {"balanced": {"build": "negmcq_balanced"}}}, "makes its own: leave it out"),
        ({"benchmarks": "", "exams": {"mcq_neg": {"run": "mcq"}}}, "there is no step 'mcq'"),
        ({"benchmarks": "", "exams": {"mcq_neg": {"run": "negmcq", "build": "x"}}}, "an exam is a run or a build"),
        ({"benchmarks": "", "exams": {"balanced": {"build": "negmcq"}}}, "no build is called 'negmcq'"),
    ],
)
def test_what_cannot_be_is_said_before_anything_starts(tmp_path: Path, change: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Mission(
            load_mission(written(tmp_path, {**encoder_mission(tmp_path), **change}), [], []), Console(quiet=True)
        ).run()
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["negationclip", "negbench", "nein"])
def test_the_papers_missions_name_recipes_and_keys_that_exist(name: str) -> None:
    places = ["data=/data", "benchmarks=/bench", "images=/images"]
    Mission(load_mission(name, [], places), Console(quiet=True)).check()
    with pytest.raises(ConfigError, match="set data=FOLDER"):
        Mission(load_mission(name, [], places[1:]), Console(quiet=True)).check()
    assert app.read_fragments([f"missions/{name}"])
