"""NeIn (arXiv 2409.06481) from data to figures, as a program to submit; see README.md beside it.

    python jobs/nein.py [-c FRAGMENT]... [key=value]...

Arguments and exit codes are those of ``negscale mission nein``. Submitted again with the same arguments, it goes on where
it stopped.
"""

import sys

from negscale.cli import cli, guarded

if __name__ == "__main__":
    sys.exit(guarded(lambda: cli(["mission", "nein", *sys.argv[1:]])))
