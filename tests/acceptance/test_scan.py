"""Promise: a caption scan counts what a plain pass over every caption counts, and a killed scan loses nothing.

The plain pass shares only the language package with the scan: no prefilter, no batches, no shortcuts, its own word count. The
captions are real alt texts joined head to tail, so that cues are as frequent as on the web.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from negscale.core.rng import rng_for
from negscale.scan.analysis import analyse_slowly
from tests.acceptance.storm import REPO, cli
from tests.acceptance.verdict import verdict

ROWS, FILES = 20_000, 8
WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


@pytest.fixture(scope="module")
def captions(shared_data: Path) -> list[str]:
    with (shared_data / "text" / "cc3m_val.tsv").open() as file:
        texts = [line.partition("\t")[0].split() for line in file]
    rng = rng_for(0, "scan")
    pairs = rng.integers(0, len(texts), (ROWS, 2))
    return [" ".join(texts[a][: len(texts[a]) // 2] + texts[b][len(texts[b]) // 2 :]) for a, b in pairs]


def write(folder: Path, captions: list[str], files: int) -> Path:
    folder.mkdir()
    size = -(-len(captions) // files)
    for number in range(files):
        table = pa.table({"caption": captions[number * size : (number + 1) * size]})
        pq.write_table(table, folder / f"{number:03d}.parquet", row_group_size=max(1, size // 3))
    return folder


def scan(source: Path, state: Path, *more: str) -> dict[str, object]:
    done = subprocess.run(
        cli("scan", str(source), "--state", str(state), "--json", *more), cwd=REPO, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.real_data
def test_equals_a_plain_pass(captions: list[str], tmp_path: Path) -> None:
    result = scan(write(tmp_path / "in", captions, FILES), tmp_path / "state", "--workers", "2")
    counts, cues = Counter[str](), Counter[tuple[str, str]]()
    began = time.perf_counter()
    for caption in captions:
        found = analyse_slowly(caption)
        explicit = [hit.name for hit in found.hits if hit.group == "explicit"]
        counts["words"] += len(WORD.findall(caption))
        counts["explicit"] += bool(explicit)
        counts["explicit_tokens"] += len(explicit)
        counts["implicit"] += any(hit.group == "implicit" for hit in found.hits)
        counts["word_list"] += bool(found.listed)
        cues.update({(hit.group, hit.name) for hit in found.hits})
        cues.update({("look-alike", name) for name in found.look_alikes})
    plain_s = time.perf_counter() - began
    shares, tokens = result["shares"], result["tokens"]
    scanned = {
        "words": result["words"], "explicit_tokens": tokens["explicit"]["count"],  # type: ignore[index]
        **{name: shares[name]["count"] for name in ("explicit", "implicit", "word_list")},  # type: ignore[index]
    }  # fmt: skip
    by_cue = {(cue["group"], cue["cue"]): cue["count"] for cue in result["cues"]}  # type: ignore[attr-defined]
    verdict(
        "the scan's totals equal a plain pass", scanned == dict(counts) and by_cue == dict(cues), captions=result["captions"],
        explicit=counts["explicit"], share=counts["explicit"] / len(captions), cues=len(cues), plain_s=plain_s,
    )  # fmt: skip


@pytest.mark.real_data
def test_killed_and_resumed(captions: list[str], tmp_path: Path) -> None:
    source = write(tmp_path / "in", captions * 24, 48)
    whole = scan(source, tmp_path / "whole", "--workers", "1")
    state, kills, resumed = tmp_path / "state", 0, 0
    for _ in range(3):
        driver = subprocess.Popen(
            cli("scan", str(source), "--state", str(state), "--workers", "2"), cwd=REPO, stderr=subprocess.DEVNULL
        )
        before = len(list(state.rglob("units/*.json")))
        while driver.poll() is None and len(list(state.rglob("units/*.json"))) < before + 4:
            time.sleep(0.01)
        family = psutil.Process(driver.pid).children(recursive=True) if driver.poll() is None else []
        if driver.poll() is None:
            driver.send_signal(signal.SIGKILL)
            kills += 1
        driver.wait()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive, "workers end with their driver"
    result = scan(source, state, "--workers", "2")
    resumed = int(str(result["resumed_units"]))
    same = all(result[key] == whole[key] for key in ("captions", "words", "shares", "tokens", "cues", "unread"))
    verdict(
        "a scan killed in the middle gives the same result", same and kills >= 2 and resumed > 0, kills=kills,
        resumed_units=resumed, units=result["units"], captions=result["captions"],
    )  # fmt: skip


@pytest.mark.real_data
def test_published_shares(shared_data: Path, tmp_path: Path) -> None:
    """Captions with a word of the literature's list, beside what surveys print for these collections (other splits)."""
    text = shared_data / "text"
    alt = scan(text / "cc3m_val.tsv", tmp_path / "state", "--column", "0")["shares"]
    coco = scan(text / "COCO_val_retrieval.csv", tmp_path / "state", "--column", "captions", "--lists")["shares"]
    flickr = scan(shared_data / "flickr8k/captions.csv", tmp_path / "state")["shares"]
    figures, shares_of = {}, {}
    for name, shares in (("cc3m", alt), ("coco", coco), ("flickr8k", flickr)):
        share = shares["word_list"]  # type: ignore[index]
        figures[name] = f"{share['share']:.3%}[{share['low']:.3%},{share['high']:.3%}]"
        figures[f"{name}_explicit"] = f"{shares['explicit']['share']:.3%}"  # type: ignore[index]
        shares_of[name] = share
    within = [
        shares_of[name]["low"] <= published <= shares_of[name]["high"]
        for name, published in (("cc3m", 0.0163), ("coco", 0.0043))
    ]
    verdict(
        "shares of negation are those that are published", all(within), **figures, published="cc3m=1.63%,coco=0.43%"
    )
