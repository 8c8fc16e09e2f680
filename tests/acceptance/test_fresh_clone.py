"""Promise: on a bare machine a fresh clone needs two commands, `make demo` and `make test`, and nothing installed before."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from negscale.benchmarks.cells import read_suite
from tests.acceptance.storm import REPO
from tests.acceptance.verdict import verdict

pytestmark = [pytest.mark.acceptance, pytest.mark.slow, pytest.mark.timeout(2400)]
DEMO_S, TEST_S = 600, 1200


def make(clone: Path, target: str) -> tuple[int, float, str]:
    """(exit status, seconds, output) of a make target, without this process's environment of Python."""
    bare = {k: v for k, v in os.environ.items() if not k.startswith(("VIRTUAL_ENV", "PYTHON", "RAY_", "PYTEST"))}
    bare["PATH"] = ":".join(p for p in bare["PATH"].split(":") if ".venv" not in p)
    begin = time.monotonic()
    done = subprocess.run(["make", target], cwd=clone, env=bare, capture_output=True, text=True)
    return done.returncode, time.monotonic() - begin, done.stdout + done.stderr


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the committed tree."""
    folder = tmp_path_factory.mktemp("fresh") / "negscale"
    subprocess.run(["git", "clone", "--quiet", str(REPO), str(folder)], check=True)
    return folder


NEGATION = tuple(f"negscale/{name}" for name in ("mcq-balanced", "mcq-balanced-pairs", "mcq-neg", "retrieval-neg"))


@pytest.fixture(scope="module")
def demo(clone: Path) -> tuple[int, float, str]:
    """make demo, once."""
    return make(clone, "demo")


def test_make_demo_is_the_mission_in_miniature(clone: Path, demo: tuple[int, float, str]) -> None:
    code, seconds, output = demo
    manifests = [clone / f"runs/{name}/dev/manifest.json" for name in ("negationclip/p1", "negbench/negmcq", "nein")]
    kept = [json.loads(path.read_text())["rows_kept"] if path.exists() else 0 for path in manifests]
    pages = [clone / f"runs/{name}/report/index.html" for name in ("eval/dev", "nein/dev")]
    shown = "what became of them" in output and "audit passed" in output
    verdict(
        "make demo on a bare machine: data, training, evaluation, pages",
        code == 0 and seconds <= DEMO_S and all(kept) and shown and all(page.is_file() for page in pages),
        exit_code=code, seconds=seconds, limit_s=DEMO_S, rows_kept=kept, tail=output[-600:] if code else "",
    )  # fmt: skip


def test_the_tuned_model_beats_what_it_was_with_intervals_apart(clone: Path, demo: tuple[int, float, str]) -> None:
    suite = read_suite(str(clone / "runs/eval/dev"))
    found, apart = {}, {}
    for benchmark in (*NEGATION, "negscale/retrieval"):
        before, tuned = (suite.cells[benchmark, key].headline.estimate for key in ("before", "tuned"))
        apart[benchmark] = (tuned.low or 0) > (before.high or 1)
        found[benchmark] = " -> ".join(
            f"{100 * e.value:.1f} [{100 * (e.low or 0):.1f}, {100 * (e.high or 0):.1f}]" for e in (before, tuned)
        )
    plain = [suite.cells["negscale/retrieval", key].headline.estimate for key in ("before", "tuned")]
    verdict(
        "tuned against pre-trained on every negation column; retrieval without denials stays within its interval",
        all(apart[name] for name in NEGATION) and (plain[1].high or 0) >= plain[0].value, **found,
    )  # fmt: skip


def test_make_demo_again_makes_nothing_anew(clone: Path, demo: tuple[int, float, str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (clone / "runs").rglob("*.parquet")}
    code, seconds, _ = make(clone, "demo")
    after = {path: path.stat().st_mtime_ns for path in (clone / "runs").rglob("*.parquet")}
    changed = [str(path.relative_to(clone)) for path in after if before.get(path) != after[path]]
    kept = [path for path in changed if not path.startswith("runs/eval/")]
    verdict(
        "make demo again does no row and no step twice",
        code == 0 and not kept,
        seconds=seconds,
        files=len(before),
        anew=kept[:5],
    )


def test_make_test_is_green(clone: Path) -> None:
    code, seconds, output = make(clone, "test")
    counts = re.findall(r"\d+ (?:passed|failed|skipped|error)", output)
    if code:
        print(output[max(0, output.find("= FAILURES =")) :])
    verdict(
        "make test on a bare machine", code == 0 and seconds <= TEST_S,
        exit_code=code, seconds=seconds, limit_s=TEST_S, counts=" ".join(counts[-4:]), tail=output[-600:] if code else "",
    )  # fmt: skip
