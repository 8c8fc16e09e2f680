"""Every kind of file gives the same counts; what is no caption is counted; totals do not depend on workers or restarts."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import tarfile
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negscale.core.errors import ConfigError
from negscale.scan import run, sources
from negscale.scan.page import html_page
from negscale.scan.run import ScanOptions, scan
from negscale.scan.sources import Reading

CAPTIONS = [
    "a man, without a hat", "a dog on a beach", "no people in the “room”", "an empty bench", "a no parking sign", "it isn't red",
    "<b>nothing</b> & nobody", "two cats",
] * 25  # fmt: skip


def write(path: Path, captions: list[Any] = CAPTIONS) -> str:
    name = path.name
    if ".parquet" in name:
        pq.write_table(pa.table({"id": range(len(captions)), "text": captions}), path, row_group_size=40)
    elif name == "c.csv.gz":
        path.write_bytes(gzip.compress(Path(write(path.with_name("plain.csv"), captions)).read_bytes()))
        path.with_name("plain.csv").unlink()
    elif ".csv" in name:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerows([["url", "caption"], *[["http://x", caption] for caption in captions]])
        path.write_bytes(text.getvalue().encode())
    elif ".tsv" in name:
        path.write_text("caption\turl\n" + "".join(f"{caption}\thttp://x\n" for caption in captions))
    elif ".jsonl" in name:
        data = "".join(json.dumps({"caption": caption}) + "\n" for caption in captions).encode()
        path.write_bytes(pa.compress(data, "zstd", asbytes=True) if name.endswith(".zst") else data)
    elif ".json" in name:
        notes = [{"id": n, "image_id": n, "caption": caption} for n, caption in enumerate(captions)]
        path.write_text(json.dumps({"images": [], "annotations": notes}))
    elif ".txt" in name:
        data = "".join(f"{caption}\n" for caption in captions).encode()
        path.write_bytes(gzip.compress(data))
    else:
        with tarfile.open(path, "w:gz" if name.endswith("gz") else "w") as tar:
            for n, caption in enumerate(captions):
                kinds = {"jpg": b"\xff" * 10, "json": json.dumps({"caption": caption}).encode()}
                kinds |= {"txt": caption.encode()} if n % 2 else {}
                for extension, data in kinds.items():
                    info = tarfile.TarInfo(f"{n:05d}.{extension}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
    return str(path)


def counted(result: dict[str, Any]) -> dict[str, Any]:
    shares = {name: share["count"] for name, share in {**result["shares"], **result["tokens"]}.items()}
    cues = {cue["cue"]: (cue["count"], sorted(e["caption"] for e in cue["examples"])) for cue in result["cues"]}
    return {"captions": result["captions"], "words": result["words"], **shares, "cues": cues}


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    options = ScanOptions()
    tally = options.tally()
    tally.add(pa.array(CAPTIONS), str)
    return counted(run.result_of(tally))


@pytest.mark.parametrize(
    "name",
    ["c.parquet", "c.csv", "c.tsv", "c.jsonl", "c.jsonl.zst", "c.json", "c.txt.gz", "c.tar", "c.tgz", "c.csv.gz"],
)
def test_every_kind_of_file(name: str, tmp_path: Path, expected: dict[str, Any]) -> None:
    result = scan([write(tmp_path / name)], workers=1, state=str(tmp_path / "state"))
    assert counted(result) == expected
    assert not result["unread"]
    assert not result["failed"]


def test_counts_by_hand(expected: dict[str, Any]) -> None:
    assert expected["captions"] == 200
    assert (expected["explicit"], expected["word_list"]) == (125, 150)  # tokens: of the list, "no parking" too
    assert {cue: count for cue, (count, _) in expected["cues"].items()} == {
        "without": 25, "no": 25, "n't": 25, "nothing": 25, "nobody": 25, "empty": 25, "no parking sign": 25,
    }  # fmt: skip


def test_folder_with_processes_and_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, Any]
) -> None:
    monkeypatch.setattr(sources, "UNIT_ROWS", 50)
    (tmp_path / "in/deep").mkdir(parents=True)
    write(tmp_path / "in/a.parquet")
    write(tmp_path / "in/deep/b.txt.gz")
    state = str(tmp_path / "state")
    first = scan([f"{tmp_path}/in"], workers=2, state=state)
    assert first["units"] == 4  # three of the row groups (80, 80, 40 rows), one file
    assert first["captions"] == 400
    lost = sorted(Path(first["state"], "units").glob("*.json"))[1]
    lost.unlink()
    again = scan([f"{tmp_path}/in"], workers=1, state=state)
    assert again["resumed_units"] == 3
    assert counted(again) == counted(first)
    assert again["shares"]["explicit"]["count"] == 2 * 100


def test_threads_and_one_worker_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "UNIT_ROWS", 50)
    source, patience_s = write(tmp_path / "a.parquet"), sys.getswitchinterval()
    alone = scan([source], workers=1, state=str(tmp_path / "alone"))
    threads = scan([source], workers=3, state=str(tmp_path / "threads"))
    assert alone["units"] > 2
    assert {**threads, "state": ""} == {**alone, "state": ""}
    assert sys.getswitchinterval() == patience_s


def test_pattern_takes_its_files_only(tmp_path: Path) -> None:
    for name in ("a1.tsv", "a2.tsv", "b.tsv"):
        write(tmp_path / name, ["no dog"])
    assert scan([f"{tmp_path}/a*.tsv"], workers=1, state=str(tmp_path / "s"))["captions"] == 2


def test_changed_file_is_a_new_scan(tmp_path: Path) -> None:
    path = tmp_path / "c.tsv"
    old = scan([write(path)], workers=1, state=str(tmp_path / "s"))
    new = scan([write(path, ["no dog"])], workers=1, state=str(tmp_path / "s"))
    assert (old["state"] != new["state"], new["captions"]) == (True, 1)


def test_what_is_no_caption_is_counted(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_bytes(
        b'{"caption": "no dog"}\n{"caption": null}\nnot json\n{"caption": ""}\n{"caption": 3}\n'
    )
    (tmp_path / "d.csv").write_bytes(b"caption,n\nno dog,1\nno \xff cat,2\na,b,c\n")
    result = scan([str(tmp_path)], workers=1, state=str(tmp_path / "s"))
    assert result["captions"] == 2
    assert result["unread"] == {"null": 1, "malformed": 3, "empty": 1, "not_utf8": 1}


def test_broken_file_is_named_and_read_again(tmp_path: Path) -> None:
    good = tmp_path / "a.parquet"
    write(good)
    (tmp_path / "b.parquet").write_bytes(good.read_bytes()[:-50])
    result = scan([str(tmp_path)], workers=1, state=str(tmp_path / "s"))
    assert result["captions"] == 200
    assert list(result["failed"]) == [f"{tmp_path}/b.parquet#0"]


def test_lists_and_numbered_columns(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("a dog\thttp://1\nno dog\thttp://2\n")
    assert (
        scan([str(tmp_path / "a.tsv")], ScanOptions(Reading("0")), workers=1, state=str(tmp_path / "s"))["captions"]
        == 2
    )
    (tmp_path / "b.csv").write_text('captions\n"[\'no cat\', ""it\'s a dog""]"\n')
    options = ScanOptions(Reading("captions", lists=True))
    assert scan([str(tmp_path / "b.csv")], options, workers=1, state=str(tmp_path / "s"))["captions"] == 2


def test_bare_word_list(tmp_path: Path, expected: dict[str, Any]) -> None:
    result = scan([write(tmp_path / "c.tsv")], ScanOptions(cues="words"), workers=1, state=str(tmp_path / "s"))
    assert result["tokens"]["word_list"]["count"] == expected["word_list"]
    assert {cue["cue"]: cue["count"] for cue in result["cues"]} == {
        "no": 50, "without": 25, "n't": 25, "nothing": 25, "nobody": 25,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("nothing.csv", ScanOptions(), "no file of captions is there"),
        ("c.tsv", ScanOptions(Reading("title")), "no column 'title'; the columns are caption, url"),
        ("c.tsv", ScanOptions(Reading("7")), "there are 2 columns, numbered from 0"),
    ],
)
def test_clear_refusals(tmp_path: Path, name: str, options: ScanOptions, message: str) -> None:
    write(tmp_path / "c.tsv")
    with pytest.raises(ConfigError, match=message):
        scan([str(tmp_path / name)], options, workers=1, state=str(tmp_path / "s"))


def test_on_an_object_store(s3_uri: str, tmp_path: Path, expected: dict[str, Any]) -> None:
    from negscale.storage.folder import open_folder

    for name in ("c.parquet", "d.txt.gz"):
        write(tmp_path / name)
        open_folder(s3_uri).write(f"in/{name}", (tmp_path / name).read_bytes())
    result = scan([f"{s3_uri}/in"], workers=1, state=f"{s3_uri}/state")
    assert result["captions"] == 2 * expected["captions"]
    assert scan([f"{s3_uri}/in/c.parquet"], workers=1, state=f"{s3_uri}/state")["captions"] == expected["captions"]


def test_page_escapes_captions(tmp_path: Path) -> None:
    page = html_page(scan([write(tmp_path / "c.tsv")], workers=1, state=str(tmp_path / "s")))
    tags: set[str] = set()

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            tags.add(tag)
            assert all(name not in ("src", "href") for name, _ in attrs)

    Tags().feed(page)
    assert "&lt;b&gt;nothing&lt;/b&gt; &amp; nobody" in page
    assert "script" not in tags
