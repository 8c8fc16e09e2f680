"""Promise: on a bare machine a fresh clone needs two commands, `make demo` and `make test`, and nothing installed before."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

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


def test_make_demo_ends_with_a_run_a_table_and_its_folder(clone: Path) -> None:
    code, seconds, output = make(clone, "demo")
    manifest = clone / "runs/negationclip/p1/dev/manifest.json"
    kept = json.loads(manifest.read_text())["rows_kept"] if manifest.exists() else 0
    shown = (
        "run folder: runs/negationclip/p1/dev" in output
        and "what became of them" in output
        and "audit passed" in output
    )
    verdict(
        "make demo on a bare machine", code == 0 and seconds <= DEMO_S and kept > 0 and shown,
        exit_code=code, seconds=seconds, limit_s=DEMO_S, rows_kept=kept, tail=output[-200:] if code else "",
    )  # fmt: skip


def test_make_test_is_green(clone: Path) -> None:
    code, seconds, output = make(clone, "test")
    counts = re.findall(r"\d+ (?:passed|failed|skipped|error)", output)
    if code:
        print(output[max(0, output.find("= FAILURES =")) :])
    verdict(
        "make test on a bare machine", code == 0 and seconds <= TEST_S,
        exit_code=code, seconds=seconds, limit_s=TEST_S, counts=" ".join(counts[-4:]), tail=output[-600:] if code else "",
    )  # fmt: skip
