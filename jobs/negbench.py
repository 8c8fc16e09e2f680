"""NegBench's cure (arXiv 2501.09425, sections 2.3 and 2.6) from data to figures, as a program to submit; see README.md beside it.

    python jobs/negbench.py [-c FRAGMENT]... [key=value]...

Arguments and exit codes are those of ``negscale mission negbench``. Submitted again with the same arguments, it goes on where
it stopped.
"""

import sys

from negscale.cli import cli, guarded

if __name__ == "__main__":
    sys.exit(guarded(lambda: cli(["mission", "negbench", *sys.argv[1:]])))
