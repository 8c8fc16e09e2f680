"""NegationCLIP (arXiv 2501.10913): its comparison in miniature on drawn scenes, or the full paper, as a program to submit.

    python jobs/negationclip.py [key=value]...
    python jobs/negationclip.py --paper [-c FRAGMENT]... data=FOLDER benchmarks=FOLDER images=FOLDER [key=value]...

The first (tables 1 and 4 of the paper, and its kin) makes the data of every recipe, takes the tests out of it, trains every
row, scores all of them, prints the table and writes table.csv and table.json below `root`. The second is ``negscale mission
negationclip``: P1 and P2 over COCO, the text encoder tuned, every benchmark before and after. Submitted again with the same
arguments, both go on where they stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from negscale.cli import cli, guarded
from negscale.core import config as configs
from negscale.core.errors import NegscaleError
from negscale.report.science import science_table
from negscale.science.experiment import ScienceConfig, run
from negscale.science.summary import as_csv, as_json, facts_of


def main(arguments: Sequence[str]) -> int:
    """Run the experiment; the last line on stdout is a JSON summary, everything for people goes to stderr."""
    if "--paper" in arguments:
        rest = [argument for argument in arguments if argument != "--paper"]
        return guarded(lambda: cli(["mission", "negationclip", *rest]))
    parser = argparse.ArgumentParser(prog="jobs/negationclip.py", description="NegationCLIP and its kin in miniature.")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dotted config keys, e.g. seeds=[0,1]")
    options = parser.parse_args(arguments)
    console = Console(stderr=True, highlight=False, width=170)
    try:
        config = configs.load(ScienceConfig, [], options.overrides)
        facts = facts_of(run(config, lambda line: console.print(line, markup=False)))
    except NegscaleError as error:
        console.print(f"negscale: {error}", markup=False, soft_wrap=True)
        return error.exit_code
    console.print(science_table(facts))
    folder = Path(config.root)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "table.csv").write_text(as_csv(facts))
    (folder / "table.json").write_text(as_json(facts))
    print(json.dumps({"table": str(folder / "table.json"), "seeds": facts["seeds"], "verdict": facts["verdict"]}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
