"""The review page over real HTTP: a run of drawn scenes, answers that last, strangers refused, captions kept as text."""

from __future__ import annotations

import http.client
import io
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pytest
from PIL import Image

from negscale import app, verbs
from negscale.core.errors import ConfigError
from negscale.datasets.images import ImageReader
from negscale.review.sample import draw_sample
from negscale.review.server import ReviewServer
from negscale.review.session import MAX_SIDE_PX, Session
from negscale.storage.run_folder import RunFolder
from tests.unit.exports.folders import make_run, row
from tests.unit.exports.pictures import QUESTIONS, question, write_picture

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)"> "\' &amp; \u2028 </title>'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """P1 on 40 drawn scenes, with the embedded models and the local executor."""
    root = tmp_path_factory.mktemp("runs")
    overrides = ["source.images=40", "source.shard_rows=16", "runtime.executor=local", f"runtime.run_root={root}"]
    prepared = app.prepare("negationclip_p1", (), overrides)
    app.generate(prepared)
    return RunFolder(prepared.spec.uri)


@pytest.fixture
def server(run: RunFolder) -> Iterator[ReviewServer]:
    for entry in list(run.folder.list("review/answers")):
        run.folder.delete(entry.path)
    with verbs.review_server(run, "ann", size=10) as started:
        yield started


def call(
    server: ReviewServer, path: str, body: Any = None, token: str | None = None, **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """(status, body, headers) of a request; a body makes it a POST."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    sent = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    try:
        connection.request(
            "GET" if body is None else "POST", f"/{server.token if token is None else token}/{path}", data, sent
        )
        response = connection.getresponse()
        return response.status, response.read(), response.headers
    finally:
        connection.close()


def ask(server: ReviewServer, path: str, body: Any = None) -> Any:
    status, data, _ = call(server, path, body)
    assert status == 200, data
    return json.loads(data)


def test_answers_last_and_a_new_server_goes_on_where_the_old_one_stopped(run: RunFolder, server: ReviewServer) -> None:
    state = ask(server, "state")
    assert (state["next"], state["reviewer"], len(state["marks"])) == (0, "ann", 10)
    ask(server, "answer", {"row": 0, "verdict": "yes"})
    ask(server, "answer", {"row": 1, "verdict": "no"})
    state = ask(server, "answer", {"row": 2, "verdict": "skip"})
    assert (state["figures"]["judged"], state["figures"]["precision"], state["next"]) == (2, 0.5, 3)
    with verbs.review_server(run, "ann", size=10) as again:
        state = ask(again, "state")
        assert state["marks"][:4] == ["yes", "no", "skip", None]
        state = ask(again, "undo", {})
        assert (state["row"], state["next"]) == (2, 2)
        assert ask(again, "undo", {})["row"] == 1
        assert ask(again, "undo", {})["row"] == 0
        assert ask(again, "undo", {})["row"] is None
    with verbs.review_server(run, "bob", size=10) as other:
        assert ask(other, "state")["next"] == 0


def test_the_figures_reach_status_summary_and_manifest(run: RunFolder, server: ReviewServer) -> None:
    for number in range(10):
        ask(server, "answer", {"row": number, "verdict": "no" if number == 3 else "yes"})
    figures = verbs.review_summary(run)
    assert (figures["right"], figures["judged"]) == (9, 10)
    assert sum(form["judged"] for form in figures["forms"].values()) == 10
    assert len(figures["forms"]) > 1
    assert verbs.status(run)["review"] == figures
    manifest = run.manifest()
    assert manifest is not None
    assert manifest.reviews == figures
    assert json.loads(run.folder.read("review/summary.json")) == figures


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_verb_serves_until_it_is_ended_and_prints_the_summary(
    run: RunFolder, server: ReviewServer, ending: signal.Signals
) -> None:
    command = [
        sys.executable,
        "-m",
        "negscale",
        "review",
        run.uri,
        "--sample",
        "5",
        "--reviewer",
        ending.name,
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        assert program.stderr is not None
        line = program.stderr.readline()
        url = urlsplit(line.split()[1])
        assert url.hostname == "127.0.0.1"
        connection = http.client.HTTPConnection("127.0.0.1", url.port or 0, timeout=20)
        connection.request(
            "POST", f"{url.path}answer", b'{"row": 2, "verdict": "yes"}', {"Content-Type": "application/json"}
        )
        assert connection.getresponse().status == 200
        program.send_signal(ending)
        printed, _ = program.communicate(timeout=60)
    assert program.returncode == 0
    assert json.loads(printed)["reviewers"][ending.name]["right"] == 1
    again = subprocess.run([*command[:5], "--summary", "--json"], capture_output=True, text=True)
    assert json.loads(again.stdout) == json.loads(printed)


def test_rows_and_images_are_those_of_the_run(run: RunFolder, server: ReviewServer) -> None:
    sample = draw_sample(run, 10)
    shown = ask(server, "row/4")
    wanted = sample.rows[4]
    assert (shown["id"], shown["absent_object"]) == (wanted["id"], wanted["absent_object"])
    assert "".join(text for text, _ in shown["negated_caption"]) == wanted["negated_caption"]
    assert any(differs for _, differs in shown["negated_caption"])
    assert dict(shown["details"])["image_captions"] == wanted["image_captions"]
    status, data, headers = call(server, "image/4/image")
    assert (status, headers["Content-Type"]) == (200, "image/jpeg")
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (wanted["image"]["width_px"], wanted["image"]["height_px"])


@pytest.mark.parametrize("token", ["", "x", "state", "%C3%A9", "%00"])
def test_other_tokens_are_refused(run: RunFolder, server: ReviewServer, token: str) -> None:
    for path, body in (("", None), ("state", None), ("image/0/image", None), ("answer", {"row": 0, "verdict": "yes"})):
        status, data, _ = call(server, path, body, token=token)
        assert status == 403
        assert server.token.encode() not in data
    assert list(run.folder.list("review/answers")) == []


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "[", "0.0.0.0", ""])
def test_foreign_hosts_are_refused(run: RunFolder, server: ReviewServer, host: str) -> None:
    assert call(server, "state", Host=host)[0] == 403
    assert call(server, "answer", {"row": 0, "verdict": "yes"}, Host=host)[0] == 403
    assert list(run.folder.list("review/answers")) == []


def test_foreign_origins_and_forms_are_refused(run: RunFolder, server: ReviewServer) -> None:
    answer = {"row": 0, "verdict": "yes"}
    assert call(server, "answer", answer, Origin="http://evil.example")[0] == 403
    assert call(server, "answer", answer, Origin="null")[0] == 403
    assert call(server, "answer", answer, Content_Type="text/plain")[0] == 415
    assert list(run.folder.list("review/answers")) == []
    assert call(server, "answer", answer, Origin=f"http://127.0.0.1:{server.port}")[0] == 200


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"row": 10, "verdict": "yes"}, 400), ({"row": -1, "verdict": "yes"}, 400), ({"row": True, "verdict": "yes"}, 400),
        ({"row": 0, "verdict": "undo"}, 400), ({"row": 0}, 400), ([], 400), (b"{", 400), (b"x" * 5000, 413),
    ],
)  # fmt: skip
def test_bad_answers_are_refused(server: ReviewServer, body: Any, status: int) -> None:
    assert call(server, "answer", body)[0] == status
    assert ask(server, "state")["next"] == 0


@pytest.mark.parametrize(
    "path", ["row/10", "row/x", "row/-1", "image/0/caption", "../state", "review.py", "%2e%2e/server.py"]
)
def test_nothing_else_is_served(server: ReviewServer, path: str) -> None:
    assert call(server, path)[0] in (403, 404)


def test_it_listens_on_loopback_alone(server: ReviewServer) -> None:
    assert server.url.startswith("http://127.0.0.1:")
    others = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)} - {"127.0.0.1"}
    for address in [a for a in others if not str(a).startswith("127.")] or ["127.0.0.2"]:
        with pytest.raises(OSError), socket.create_connection((str(address), server.port), timeout=2):
            pass
    with pytest.raises(ConfigError, match="--port"):
        ReviewServer(server._server.session, server.port)


def test_captions_never_become_markup(tmp_path: Path) -> None:
    """Pages are files that hold no row; rows are JSON that no browser takes for a page; the script makes text nodes only."""
    run = make_run(tmp_path / "run", [[row(HOSTILE, "1", "1", caption=HOSTILE, negated_caption=f"no {HOSTILE}")]])
    session = Session(run, draw_sample(run, 5), ImageReader(str(tmp_path)), "ann")
    with ReviewServer(session) as server:
        for name in ("", "review.js", "review.css"):
            status, data, headers = call(server, name)
            assert status == 200
            assert b"alert(" not in data
            policy = headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self';" in policy
            assert "unsafe" not in policy
        _, data, headers = call(server, "row/0")
        assert headers["Content-Type"] == "application/json"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert json.loads(data)["id"] == HOSTILE
        script = call(server, "review.js")[1].decode()
        for danger in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
            assert danger not in script


def test_rows_that_name_their_image_by_path_and_ask_a_question(tmp_path: Path) -> None:
    write_picture(tmp_path / "val/a.png", 3, "PNG")
    schema = QUESTIONS.remove(QUESTIONS.get_field_index("image")).append(pa.field("image_path", pa.string()))
    columns = {k: v for k, v in question("q", answer=2).items() if k != "image"}
    run = make_run(tmp_path / "run", [[{**columns, "image_path": "val/a.png"}]], schema)
    with ReviewServer(Session(run, draw_sample(run, 1), ImageReader(str(tmp_path)), "ann")) as server:
        shown = ask(server, "row/0")
        assert (shown["images"], shown["answer"], len(shown["options"])) == (["image_path"], 2, 4)
        status, data, _ = call(server, "image/0/image_path")
    assert status == 200
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.size == (12, 8)


def test_images_that_cannot_be_had_say_why_and_large_ones_are_scaled(tmp_path: Path) -> None:
    (tmp_path / "val2017").mkdir()
    Image.new("RGB", (4000, 1000), "red").save(tmp_path / "val2017/big.png")
    plain = {"sha256": None, "offset": None, "length": None, "height_px": None, "width_px": None}
    rows = [
        row(f"r{n}", "1", "1", image={"uri": uri, **plain} if uri else None)
        for n, uri in enumerate(("val2017/none.jpg", "../secret.jpg", None, "val2017/big.png"))
    ]
    run = make_run(tmp_path / "run", [rows])
    sample = draw_sample(run, 5)
    with ReviewServer(Session(run, sample, ImageReader(str(tmp_path)), "ann")) as server:
        found = {shown["id"]: call(server, f"image/{number}/image")[:2] for number, shown in enumerate(sample.rows)}
    for row_id, kind in (("r0", "missing_image"), ("r1", "forbidden_path"), ("r2", "missing_image")):
        assert found[row_id][0] == 404
        assert kind in json.loads(found[row_id][1])["error"]
    with Image.open(io.BytesIO(found["r3"][1])) as picture:
        assert picture.size == (MAX_SIDE_PX, MAX_SIDE_PX // 4)
