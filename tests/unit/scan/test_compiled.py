"""Compiled functions work where nothing can be kept on disk."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_a_read_only_package_without_a_home_still_counts(tmp_path: Path) -> None:
    source = (
        "import pyarrow as pa\n"
        "from numba.core import caching\n"
        "caching.CacheImpl._locator_classes = []\n"  # as where no folder can be written
        "caching.CompileResultCacheImpl._locator_classes = []\n"
        "from negscale.scan.prefilter import CUED, candidates\n"
        "words, rows = candidates(pa.array(['a dog', 'no cat here']), CUED)\n"
        "print(words, rows.tolist())"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, check=False, cwd=tmp_path, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["5", "[1]"]
