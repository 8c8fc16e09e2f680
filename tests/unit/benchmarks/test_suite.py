"""`negscale eval all` from the command line to its folder, on small files, pictures and models; bad input is answered."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from negscale.benchmarks.catalogue import RELEASED
from negscale.benchmarks.cells import Suite, read_suite
from negscale.cli import cli
from negscale.core.errors import ConfigError, QuarantineBudgetError
from tests.unit.backends.made_vision import make_open_clip
from tests.unit.benchmarks.files import png

pytest.importorskip("torch")
pytest.importorskip("open_clip")

COLOURS = {name: (40 * at, 250 - 40 * at, 15 * at) for at, name in enumerate(("one", "two", "three", "four", "five"))}
LONG = "A car, " + "and another car, " * 40 + "but no dog."
MCQ = ["image_path,correct_answer,caption_0,caption_1,caption_2,caption_3,correct_answer_template"] + [
    f'/home/author/coco/{name}.png,{at % 4},"A {name} knife, but no car.",A {name} car.,"{LONG}",No {name}.,hybrid'
    for at, name in enumerate(COLOURS)
]  # fmt: skip
RETRIEVAL = ["filepath,captions"] + [
    f"""data/{name}.png,"['A {name} thing.', 'No {name}.']\"""" for name in COLOURS
]  # fmt: skip
PAIRS = [
    "image_a,image_b,caption_a,caption_b",
    "one.png,two.png,A one.,A two.",
    "three.png,four.png,A three.,No three.",
]


@pytest.fixture
def roots(tmp_path: Path) -> Path:
    for name, colour in COLOURS.items():
        png(tmp_path / "images" / f"{name}.png", colour)
    (tmp_path / "data" / "negbench").mkdir(parents=True)
    (tmp_path / "data" / "negbench" / "COCO_val_mcq_rows.csv").write_text("\r\n".join([*MCQ, MCQ[1]]) + "\r\n")
    (tmp_path / "data" / "coco_negated_retrieval.csv").write_text("\n".join(RETRIEVAL) + "\n")
    (tmp_path / "data" / "my_two_by_two.csv").write_text("\n".join(PAIRS) + "\n")
    return tmp_path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    return make_open_clip(tmp_path_factory.mktemp("model"))


def arguments(roots: Path, model: tuple[str, Path], *more: str, name: str = "all") -> list[str]:
    encoder = f"{{kind: open_clip_encoder, model: {model[0]}, path: {model[1]}}}"
    return [
        "eval", name, f"data_root={roots / 'data'}", f"image_root={roots / 'images'}", f"models.plain={encoder}",
        f"runtime.run_root={roots / 'runs'}", "runtime.executor=local", *more,
    ]  # fmt: skip


def evaluated(roots: Path, model: tuple[str, Path], *more: str) -> tuple[Suite, Result]:
    result = CliRunner().invoke(cli, arguments(roots, model, *more))
    assert result.exit_code == 0, result.output + str(result.exception)
    return read_suite(str(roots / "runs/eval/all")), result


def scorer(model: tuple[str, Path], kind: str) -> str:
    encoder = f"{{kind: open_clip_encoder, model: {model[0]}, path: {model[1]}}}"
    return f"models.{kind}={{kind: negation_aware_encoder, encoder: {encoder}, scoring: {{kind: {kind}}}}}"


def test_a_multimodal_llm_beside_an_encoder_and_alone(roots: Path, model: tuple[str, Path]) -> None:
    chat = "models.asked={kind: tiny_chat}"
    suite, result = evaluated(roots, model, chat, "chat.protocol=yes_no", "chat.max_attempts=5")
    assert [one.key for one in suite.models] == ["plain", "asked"]
    assert [one.scorer for one in suite.models] == ["cosine", "answers"]
    cell = suite.cells["negbench/mcq-coco", "asked"]
    assert cell.items == suite.cells["negbench/mcq-coco", "plain"].items == 6
    assert cell.controls.keys() >= {"type prior", "second longest"}
    assert cell.lineage["asked"] == {"protocol": "yes_no", "max_attempts": 5}
    assert cell.lineage["runs"][0].startswith(str(roots / "runs/answers"))
    assert suite.items("two-by-two", "asked").num_rows == 2
    assert [(one.benchmark, one.model) for one in suite.not_scored] == [("negbench/retrieval-neg-coco", "asked")]
    assert ("negbench/retrieval-neg-coco", "asked") not in suite.cells
    assert {pair.b for pair in suite.paired["negbench/mcq-coco"]} == {"asked"}
    assert not suite.paired["negbench/retrieval-neg-coco"]
    assert "asked: not scored" in " ".join(result.stderr.split())
    alone = CliRunner().invoke(
        cli, [arg for arg in arguments(roots, model, chat) if not arg.startswith("models.plain")]
    )
    assert alone.exit_code == 0, alone.output
    assert read_suite(str(roots / "runs/eval/all")).benchmarks == ("negbench/mcq-coco", "two-by-two")


def test_all_benchmarks_on_three_scorers_of_one_encoder(roots: Path, model: tuple[str, Path]) -> None:
    suite, result = evaluated(roots, model, scorer(model, "repulsion"), scorer(model, "projection"), "--json")
    assert suite.benchmarks == ("negbench/mcq-coco", "negbench/retrieval-neg-coco", "two-by-two")
    assert len(suite.absent) == len(RELEASED) - 3
    assert any("get it:" in one.advice for one in suite.absent)
    assert suite.models[0].scorer == "cosine"
    assert len(suite.cells) == 9
    shown = json.loads(result.stdout)
    assert len(shown["cells"]) == 9
    cell = suite.cells["negbench/mcq-coco", "plain"]
    assert cell.notes == {"duplicated rows": 1, "texts cut by the model": 1}
    assert (cell.items, cell.missing) == (6, 0)
    assert cell.paper.startswith("NegBench")
    assert {"type prior", "second longest", "the model, other images"} <= set(cell.controls)
    assert cell.gain is not None
    assert any(row.model == "CLIP B/32" for row in cell.reference)
    (file,) = cell.lineage["files"].items()
    assert file[0].endswith("COCO_val_mcq_rows.csv")
    assert len(file[1]) == 64
    rows = suite.items("negbench/mcq-coco", "plain").to_pylist()
    assert rows[0]["image"] == ["one.png"]
    assert rows[0]["texts"][0] == "A one knife, but no car."
    stores = list((roots / "runs/embeddings").iterdir())
    assert len(stores) == 1  # scorers share the vectors
    assert {pair.test for pair in suite.paired["two-by-two"]} == {"mcnemar", "paired bootstrap"}
    assert len({(pair.a, pair.b) for pair in suite.paired["negbench/mcq-coco"]}) == 3
    turned = suite.items("negbench/mcq-coco", "repulsion").to_pylist()
    assert turned[0]["scores"][1] == rows[0]["scores"][1]  # an affirmation is left alone
    assert turned[0]["scores"][0] != rows[0]["scores"][0]


def test_scorers_are_tuned_on_images_that_are_not_scored(roots: Path, model: tuple[str, Path]) -> None:
    tuned = ["tune_on=negbench/mcq-coco", "tune_share=0.5"]
    suite, _ = evaluated(roots, model, scorer(model, "repulsion"), *tuned)
    plain, turned = (suite.cells["negbench/mcq-coco", key] for key in ("plain", "repulsion"))
    facts = turned.lineage["tuning"]
    assert plain.lineage["tuning"] is None
    assert 0 < facts["items"] < 6
    assert plain.items == turned.items == 6 - facts["items"]
    assert {one.scorer for one in suite.models} == {"cosine", turned.scorer}
    assert suite.cells["negbench/retrieval-neg-coco", "repulsion"].items == 10
    result = CliRunner().invoke(cli, arguments(roots, model, "tune_on=two-by-two"))
    assert isinstance(result.exception, ConfigError)
    assert "there are ['negbench/mcq-coco']" in str(result.exception)


def test_a_second_evaluation_encodes_nothing_and_gives_the_same(roots: Path, model: tuple[str, Path]) -> None:
    first, _ = evaluated(roots, model)
    run = next((roots / "runs/embeddings").rglob("manifest.json"))
    before = {path: path.read_bytes() for path in (roots / "runs/eval").rglob("*") if path.is_file()}
    stamp = run.stat().st_mtime_ns
    second, _ = evaluated(roots, model)
    assert second == first
    assert {path: path.read_bytes() for path in before} == before
    assert run.stat().st_mtime_ns == stamp
    assert len(list((roots / "runs/embeddings").rglob("manifest.json"))) == 1


def test_a_table_for_people(roots: Path, model: tuple[str, Path], capfd: pytest.CaptureFixture[str]) -> None:
    _, result = evaluated(roots, model, scorer(model, "repulsion"))
    shown = " ".join((capfd.readouterr().err + result.output).split())
    for text in (
        "released: by the released protocol", "CLIP B/32", "without images:", "type prior", "texts cut by the model 1",
        "absent: cc-neg", "mcnemar p ", "duplicated rows 1", "text_to_image/recall@5",
    ):  # fmt: skip
        assert text in shown, text


def test_missing_images_are_counted_and_wrong_folders_refused(roots: Path, model: tuple[str, Path]) -> None:
    (roots / "images/five.png").unlink()
    (roots / "images/four.png").write_bytes(b"\x89PNG broken")
    suite, _ = evaluated(roots, model)
    cell = suite.cells["negbench/mcq-coco", "plain"]
    assert cell.notes["images not found"] == 1
    assert cell.notes["fault missing_image"] == 1
    assert cell.notes["fault unreadable_image"] == 1
    assert cell.missing == 2
    assert suite.cells["negbench/retrieval-neg-coco", "plain"].missing == 4  # two captions of each
    for name in ("one", "two", "three"):
        (roots / f"images/{name}.png").rename(roots / f"images/other_{name}.png")
    everything = CliRunner().invoke(cli, arguments(roots, model))
    assert isinstance(everything.exception, ConfigError)
    assert "holds no benchmark that can be scored" in str(everything.exception)
    assert "cc-neg: no file" in str(everything.exception)


def test_a_model_of_nan_is_shown_and_costs_the_others_nothing(
    roots: Path, model: tuple[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(model[1])
    weights["visual.proj"] *= float("nan")
    save_file(weights, tmp_path / "nan.safetensors")
    ill = f"models.ill={{kind: open_clip_encoder, model: {model[0]}, path: {tmp_path / 'nan.safetensors'}}}"
    suite, _ = evaluated(roots, model, ill)
    cell = suite.cells["negbench/mcq-coco", "ill"]
    assert cell.notes["fault not_finite"] == len(COLOURS)
    assert cell.missing == cell.items == 6
    assert cell.headline.estimate.value != cell.headline.estimate.value
    assert cell.gain is None
    assert suite.cells["negbench/mcq-coco", "plain"].missing == 0
    assert suite.paired["negbench/mcq-coco"] == ()


def test_a_large_ranking_is_a_run_and_gives_the_same(roots: Path, model: tuple[str, Path]) -> None:
    first, _ = evaluated(roots, model)
    whole = first.items("negbench/retrieval-neg-coco", "plain")
    second, _ = evaluated(roots, model, "sharded_from=1", "ranking_block=4")
    assert second.items("negbench/retrieval-neg-coco", "plain").equals(whole)
    assert len(list((roots / "runs/rankings/ranking").iterdir())) == 2  # one a direction


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("models.plain.pathh=x", "did you mean 'path'"),
        ("models.plain.kind=clip", "kind clip is unknown"),
        ("models.bad/name={kind: open_clip_encoder, model: a}", "cannot name a file"),
        ("image_rot=x", "did you mean 'image_root'"),
        ("models.other={kind: open_clip_encoder, model: ViT-B-32, path: /nowhere}", "'/nowhere' is no file"),
        ("models=[clip_b32_opnai]", "no config fragment 'models/clip_b32_opnai'; known: .*models/clip_b32_openai"),
    ],
)
def test_bad_values_are_refused_before_anything_starts(
    roots: Path, model: tuple[str, Path], override: str, message: str
) -> None:
    result = CliRunner().invoke(cli, arguments(roots, model, override))
    assert isinstance(result.exception, ConfigError)
    assert re.search(message, str(result.exception)), str(result.exception)
    assert not (roots / "runs").exists()


def test_one_benchmark_by_name(roots: Path, model: tuple[str, Path]) -> None:
    runner = CliRunner()
    result = runner.invoke(cli, arguments(roots, model, name="two-by-two"))
    assert result.exit_code == 0, result.output
    assert read_suite(str(roots / "runs/eval/two-by-two")).benchmarks == ("two-by-two",)
    absent = runner.invoke(cli, arguments(roots, model, name="cc-neg"))
    assert isinstance(absent.exception, ConfigError)
    assert "CoN-CLIP links the data" in str(absent.exception)
    wrong = runner.invoke(cli, arguments(roots, model, name="two-by-tow"))
    assert isinstance(wrong.exception, ConfigError)
    assert "did you mean 'two-by-two'" in str(wrong.exception)
    forked = runner.invoke(cli, arguments(roots, model, "--fork"))
    assert isinstance(forked.exception, ConfigError)


def test_files_that_do_not_fit_are_named(roots: Path, model: tuple[str, Path]) -> None:
    file = roots / "data" / "negbench" / "COCO_val_mcq_rows.csv"
    for old, new, message in (("caption_0", "captoin_0", "caption"), ("one.png,0", "one.png,9", "9")):
        file.write_text("\r\n".join(MCQ).replace(old, new, 1))
        named = CliRunner().invoke(cli, arguments(roots, model, name="negbench/mcq-coco"))
        assert isinstance(named.exception, ConfigError)
        assert message in str(named.exception)
        suite, _ = evaluated(roots, model)  # the others are scored all the same
        assert message in suite.refused["negbench/mcq-coco"]
        assert "two-by-two" in suite.benchmarks


def test_too_many_faults_end_in_exit_code_3(
    roots: Path, model: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from negscale.core import run

    monkeypatch.setattr(run, "BUDGET_FROM_ROWS", 1)
    (roots / "images/four.png").write_bytes(b"\x89PNG broken")
    result = CliRunner().invoke(cli, arguments(roots, model, "runtime.quarantine_budget=0.001"))
    assert isinstance(result.exception, QuarantineBudgetError)
    assert "run negscale retry" in str(result.exception)
    assert read_suite(str(roots / "runs/eval/all")).cells  # the results stand all the same
