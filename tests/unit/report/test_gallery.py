"""The page: hostile text stays text, nothing comes from outside, every fate is counted, 10,000 rows stay small."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from negscale import app
from negscale.cli import cli, guarded
from negscale.core.errors import ConfigError, PlanError
from negscale.datasets.images import ImageReader
from negscale.report.gallery import Gallery, GalleryOptions, build_gallery, json_text
from negscale.report_verbs import images_of, make_report
from negscale.storage.run_folder import RunFolder
from tests.unit.exports.folders import broken, make_run, rejected, row
from tests.unit.exports.pictures import QUESTIONS, question, reference
from tests.unit.report.edit_runs import make_edit_run

HOSTILE = (
    "</script><script>window.attacked=1</script>", "<!-- <script> --> ]]> &lt;b&gt; & \" '",
    "\u202eright to left\u202c \u2028\u2029 \x00",
    "{{ 7 * 7 }} {% raw %} \\u003cscript\\u003e", "<img src=x onerror=alert(1)>", "שלום <b>עולם</b>",
)  # fmt: skip


class Elements(HTMLParser):
    """What a browser's parser finds: elements with their attributes, and the text of the script blocks."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str | None]] = []
        self.blocks: dict[str, list[str]] = {}
        self.text: list[str] = []
        self._block = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag in ("script", "style"):
            named = dict(attrs)
            self._block = named.get("id") or named.get("class") or tag
            self.blocks.setdefault(self._block, []).append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._block = ""

    def handle_data(self, data: str) -> None:
        if self._block:
            self.blocks[self._block][-1] += data
        else:
            self.text.append(data)

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.blocks["data"][0])


def _gallery(run: RunFolder, reader: Any = None, **options: Any) -> tuple[Gallery, Elements]:
    gallery = build_gallery(run, reader or ImageReader(run.uri), GalleryOptions(**options))
    return gallery, Elements(gallery.html)


def _drawn(row_id: str, number: int = 0, **columns: Any) -> dict[str, Any]:
    return row(row_id, "1", "1", image=reference(f"toyworld:0/{number}"), **columns)


def test_hostile_texts_stay_text_and_reach_the_cards_unchanged(tmp_path: Path) -> None:
    texts = [text.replace("\x00", "\u0001") for text in HOSTILE]
    rows = [
        _drawn(f"r{n}", caption=text, negated_caption=f"{text} no dog", absent_object=text)
        for n, text in enumerate(texts)
    ]
    fault = {"stage": texts[0], "kind": texts[4], "message": texts[1], "retryable": False}
    run = make_run(tmp_path / "run", [[*rows, _drawn(texts[0], quarantine=fault)]])
    _, page = _gallery(run)
    assert page.tags["script"] == 3  # data, program, one block of pictures
    assert page.tags["img"] == page.tags["iframe"] == 0
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "style"]
    shown = {made["i"]: made for made in page.data["rows"]}
    for number, text in enumerate(texts):
        labels = page.data["names"]
        said = {labels[label]: "".join(pieces) for label, pieces in shown[f"r{number}"]["t"]}
        assert said == {"negated caption": f"{text} no dog", "caption": text}
        assert shown[f"r{number}"]["o"] == [text]
    assert shown[texts[0]]["m"] == texts[1]
    assert "<script>window" not in "".join(page.blocks["script"])


def test_nothing_comes_from_outside_and_only_our_script_may_run(tmp_path: Path) -> None:
    gallery, page = _gallery(make_run(tmp_path / "run", [[_drawn("a")]]))
    assert not [value for _, name, value in page.attributes if name in ("src", "srcset", "action", "data")]
    assert [value for _, name, value in page.attributes if name == "href"] == ["#gallery"]
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", gallery.html)
    policy = next(
        value
        for tag, name, value in page.attributes
        if tag == "meta" and name == "content" and "default-src" in (value or "")
    )
    for block, where in (("script", "script-src"), ("style", "style-src")):
        digest = base64.b64encode(sha256(page.blocks[block][0].encode()).digest()).decode()
        assert f"{where} 'sha256-{digest}'" in policy  # type: ignore[operator]
    assert "default-src 'none'" in policy  # type: ignore[operator]
    assert "unsafe" not in policy  # type: ignore[operator]


def test_the_words_that_came_are_marked(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run", [[_drawn("a", caption="A dog runs.", negated_caption="A dog runs without a cat.")]]
    )
    made = _gallery(run)[1].data["rows"][0]
    assert made["t"][0][1] == ["A dog runs", " without a cat", "."]
    assert made["t"][1][1] == ["A dog runs."]


def test_questions_carry_their_options_and_the_right_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [[question("a", image=reference("toyworld:0/3"), answer=2)]], QUESTIONS)
    data = _gallery(run)[1].data
    assert data["kind"] == "questions"
    assert data["rows"][0]["q"] == ["A cat.", "A dog and no cat.", "No dog.", "Neither."]
    assert data["rows"][0]["a"] == 2


def test_edits_carry_scores_verdicts_and_their_difference(tmp_path: Path) -> None:
    run = make_edit_run(tmp_path / "run", 30)
    gallery, page = _gallery(run)
    data = page.data
    assert data["kind"] == "edits"
    scores = [name for name, _ in data["scores"]]
    assert {"selection_score", "caption_score", "object_score", "change_outside"} <= set(scores)
    by_fate = {data["fates"][made["f"]][0]: made for made in data["rows"]}
    kept = by_fate["kept"]
    assert [figure[0] for figure in kept["g"]] == ["source", "edit", "difference"]
    assert data["names"][kept["t"][0][0]] == "negative instruction"
    assert {data["names"][name]: value for name, value in kept["v"]}["object seen"] == 1
    assert by_fate["quarantined"]["m"] == "3 attempts gave one colour"
    assert gallery.facts["images_unread"] == {}
    assert sum(fate[2] for fate in data["fates"]) == data["population"] == 60
    assert page.tags["figure"] == len(scores), "a chart for every score"


def test_unreadable_images_are_counted_and_the_page_is_made_all_the_same(tmp_path: Path) -> None:
    run = make_run(
        tmp_path / "run", [[row("a", "7", "1"), row("b", "8", "1"), row("c", "8", "2"), row("d", "1", "1", uri=None)]]
    )
    gallery, path = make_report(run, str(tmp_path / "page.html"))
    assert gallery.facts["images_unread"] == {"missing_image": 2}
    text = Path(path).read_text()
    assert "2 of 2 images of these rows could not be read (missing_image 2)" in text
    assert "does not say where its images lie" in text  # the test run's config is no config of the recipe
    made = {one["i"]: one for one in Elements(text).data["rows"]}
    assert made["a"]["g"][0][1:3] == [-1, "missing_image: val2017/7.jpg: no such image below '" + run.uri + "'"]
    assert made["d"]["g"] == [["image", -1, "none: the row did not come that far"]]


def test_counts_and_reasons_are_those_of_all_rows(tmp_path: Path) -> None:
    rows = [_drawn(f"r{n:03d}", n % 5) for n in range(50)] + [rejected(f"x{n}") for n in range(30)] + [broken("b")]
    gallery, page = _gallery(make_run(tmp_path / "run", [rows[:40], rows[40:]], finish=False), rows=12)
    assert gallery.facts["counts"] == {"kept": 50, "rejected": 30, "quarantined": 1}
    assert [fate[2:] for fate in page.data["fates"]] == [[50, 6], [30, 5], [1, 1]]
    words = " ".join(" ".join(page.text).split())
    assert "50 kept 61.7%" in words
    assert "12 of 81 rows are on this page" in words
    assert "the run is not closed" in words


def test_ten_thousand_rows_stay_small_and_out_of_the_document(tmp_path: Path) -> None:
    rows = [
        _drawn(f"r{n:05d}", n % 40, caption=f"a caption of some usual length that speaks of scene number {n}",
               negated_caption=f"a caption of some usual length that speaks of scene number {n}, but there is no cat")
        for n in range(12_000)
    ]  # fmt: skip
    run = make_run(tmp_path / "run", [rows[:6000], rows[6000:]])
    gallery, page = _gallery(run, rows=10_000)
    assert len(page.data["rows"]) == 10_000
    assert gallery.facts["population"] == 12_000
    assert gallery.facts["page_bytes"] < 10_000 * 700 + 3 * 10**6
    assert sum(page.tags.values()) < 500, "cards are made by the script, as they come into sight"
    with pytest.raises(ConfigError, match="--rows 10001"):
        _gallery(run, rows=10_001)


def test_the_folder_of_pictures_holds_what_the_page_names(tmp_path: Path) -> None:
    run = make_edit_run(tmp_path / "run", 10)
    gallery, path = make_report(run, str(tmp_path / "out" / "edits.html"), folder=True)
    data = Elements(Path(path).read_text()).data
    named = {f"{data['folder']}{name}" for name in data["files"]}
    assert named == set(gallery.files) == {f"edits_images/{p.name}" for p in (tmp_path / "out/edits_images").iterdir()}
    used = {figure[1] for made in data["rows"] for figure in made["g"] if figure[1] >= 0}
    assert used == set(range(len(data["files"])))


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    run = make_edit_run(tmp_path / "run", 8)
    assert _gallery(run)[0].html == _gallery(run)[0].html
    assert _gallery(run)[0].html != _gallery(run, seed=1)[0].html


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, RunFolder]:
    """P1 on drawn scenes, and a run over its kept rows: both real, with the local executor."""
    root = tmp_path_factory.mktemp("runs")
    common = ["runtime.executor=local", f"runtime.run_root={root}"]
    first = app.prepare("negationclip_p1", (), ["source.images=40", *common])
    app.generate(first)
    columns = "[image,caption,image_captions,image_id,caption_id]"
    second = app.prepare(
        "negbench_negcap", (), ["source.kind=run", f"source.uri={first.spec.uri}", f"source.columns={columns}", *common]
    )
    app.generate(second)
    return RunFolder(first.spec.uri), RunFolder(second.spec.uri)


def test_the_verb_shows_where_the_rows_come_from(chain: tuple[RunFolder, RunFolder], tmp_path: Path) -> None:
    first, second = chain
    target = tmp_path / "second.html"
    result = CliRunner().invoke(cli, ["report", second.uri, "--html", str(target), "--rows", "50", "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["images_unread"] == {}
    assert facts["rows"] == min(50, facts["population"])
    page = Elements(target.read_text())
    words = " ".join(" ".join(page.text).split())
    assert f"negationclip/p1/dev fingerprint {first.record()['fingerprint']}" in words
    assert first.uri in words
    manifest = second.manifest()
    assert manifest is not None
    for model in manifest.backends.values():
        assert model in words
    assert page.data["run"] == second.uri


def test_the_default_place_is_in_the_run_folder(chain: tuple[RunFolder, RunFolder]) -> None:
    result = CliRunner().invoke(cli, ["report", chain[0].uri])
    assert result.exit_code == 0, result.output
    assert Path(chain[0].uri, "report/index.html").stat().st_size > 10_000
    assert "presence score" in " ".join(Elements(Path(chain[0].uri, "report/index.html").read_text()).text)


def test_images_of_a_run_that_another_run_made_are_found(tmp_path: Path) -> None:
    made = make_edit_run(tmp_path / "made", 4)
    rows = [one for _, table in made.tables("data") for one in table.to_pylist()]
    reader, _ = images_of(made)
    assert reader.read(rows[0]["image_with_object"]).shape == (96, 96, 3)
    assert reader.read(rows[0]["image"]).shape == (96, 96, 3)
    (tmp_path / "later").mkdir()
    later = RunFolder(str(tmp_path / "later"))
    record = made.record()
    identity = {
        "input": {"run": record["name"], "run_fingerprint": record["fingerprint"], "content_digest": "0", "rows": 3}
    }
    later.folder.write(
        "run.json", json.dumps({"name": "x", "version": "v", "fingerprint": "f", "identity": identity}).encode()
    )
    later.folder.write("config.yaml", f"# recipe: fetch\nsource: {{kind: run, uri: {made.uri}}}\n".encode())
    assert images_of(later)[0].read(rows[0]["image_with_object"]).shape == (96, 96, 3)


def test_a_chain_of_runs_finds_images_and_thresholds_where_they_were_made(tmp_path: Path) -> None:
    common = ["runtime.executor=local", f"runtime.run_root={tmp_path}"]
    uri = ""
    for recipe in ("nein_select", "nein_edit", "nein_filter"):
        source = ["source.kind=run", f"source.uri={uri}"] if uri else ["source.images=6"]
        prepared = app.prepare(recipe, (), [*source, *common])
        app.generate(prepared)
        uri = prepared.spec.uri
    gallery, path = make_report(RunFolder(uri), str(tmp_path / "page.html"))
    assert gallery.facts["images_unread"] == {}
    page = Elements(Path(path).read_text())
    assert all(figure[1] >= 0 for made in page.data["rows"] for figure in made["g"])
    assert {len(made["g"]) for made in page.data["rows"]} == {3}
    words = " ".join(" ".join(page.text).split())
    assert words.index("nein_edit/dev") < words.index("nein_select/dev")
    assert "selection.below = 0.4" in words
    assert "filter.above = 0.4" in words


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{no}"], "holds no run"), (["{run}", "--rows", "0"], "--rows 0"), (["{run}", "--sample", "best"], "'best' is unknown"),
        (["{run}", "--megabytes", "0"], "above 0"), (["{run}", "--html", "{dir}"], "is a folder"),
        (["{empty}"], "no finished shard"),
        (["{run}", "source.rot=/x"], "source"),
    ],
)  # fmt: skip
def test_clear_errors(tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    places = {"no": tmp_path / "no", "run": tmp_path / "run", "empty": tmp_path / "empty", "dir": tmp_path}
    make_run(places["run"], [[_drawn("a")]])
    make_run(places["empty"], [], finish=False)
    filled = [argument.format(**places) for argument in arguments]
    code = guarded(lambda: cli(["report", *filled], standalone_mode=False))
    assert code == 2
    assert said in capsys.readouterr().err


def test_json_holds_no_way_out_of_its_block() -> None:
    text = json_text({"a": list(HOSTILE)})
    assert "<" not in text
    assert json.loads(text) == {"a": list(HOSTILE)}
    with pytest.raises(PlanError):
        build_gallery(RunFolder("/nonexistent/run"), ImageReader())
