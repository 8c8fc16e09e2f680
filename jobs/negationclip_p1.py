"""NegationCLIP, pipeline 1 (arXiv 2501.10913, section 3.1), as a program to submit; see README.md beside it.

    python jobs/negationclip_p1.py [-c FRAGMENT]... [--fork] [key=value]...

Arguments and exit codes are those of ``negscale generate negationclip_p1``: 0 done, 2 configuration or plan, 3 too many rows
quarantined, 4 fatal. Submitted again with the same arguments, it goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from rich.console import Console

from negscale import app
from negscale.core.errors import NegscaleError, QuarantineBudgetError
from negscale.report import terminal

RECIPE = "negationclip_p1"


def main(arguments: Sequence[str]) -> int:
    """Run the recipe; the last line on stdout is a JSON summary, everything for people goes to stderr."""
    parser = argparse.ArgumentParser(prog=f"jobs/{RECIPE}.py", description="NegationCLIP, pipeline 1.")
    parser.add_argument("-c", "--config", action="append", default=[], metavar="FRAGMENT", help="e.g. backends/tiny")
    parser.add_argument("--fork", action="store_true", help="start a new version where the folder holds another recipe")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dotted config keys, e.g. source.images=64")
    options = parser.parse_intermixed_args(arguments)
    console = Console(stderr=True, highlight=False, width=120)
    try:
        prepared = app.prepare(RECIPE, options.config, options.overrides, options.fork)
        manifest = app.generate(prepared, terminal.Progress(console))
    except NegscaleError as error:
        console.print(f"negscale: {error}", markup=False, soft_wrap=True)
        return error.exit_code
    console.print(terminal.counts_table(manifest))
    summary = {
        "run": prepared.spec.uri, "status": manifest.status, "fingerprint": manifest.fingerprint,
        "content_digest": manifest.content_digest, "rows_read": manifest.rows_read, "rows_kept": manifest.rows_kept,
        "rows_rejected": manifest.rows_rejected, "rows_quarantined": manifest.rows_quarantined,
        "shards": manifest.shards, "incarnations": manifest.incarnations, "seconds": manifest.seconds,
    }  # fmt: skip
    print(json.dumps(summary), flush=True)
    return QuarantineBudgetError.exit_code if manifest.status == "over_budget" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
