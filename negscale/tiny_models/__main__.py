"""`python -m negscale.tiny_models train|measure|check [text|vision|encoder|editor ...] [--out FOLDER] [--start FOLDER] [--seed N]`.

train    draws the lessons, trains, measures, writes the folders with hashes and figures: about an hour on one core
measure  prints the figures of folders that are there
check    compares folders with their hashes

A seed gives the same model on the same machine and versions; elsewhere it gives one that is as good.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from negscale.core.errors import NegscaleError
from negscale.tiny_models import editor, encoder, text, vision
from negscale.tiny_models.files import NAMES, WEIGHTS, Name, check_hashes, write_figures, write_hashes
from negscale.tiny_models.measure import measure
from negscale.tiny_models.training import Pause


def train(name: Name, folder: Path, seed: int, start: Path | None, pause: Pause | None) -> float:
    """Train the model called `name` into `folder`; returns minutes. `pause` is for the editor and the encoder."""
    if name in ("editor", "encoder"):
        return {"editor": editor.train, "encoder": encoder.train}[name](folder, seed, start, pause=pause)
    return {"text": text.train, "vision": vision.train}[name](folder, seed, start)


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0, or 2 when a folder is not what its hashes say."""
    parser = argparse.ArgumentParser(
        prog="python -m negscale.tiny_models", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("train", "measure", "check"))
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder of the models' folders")
    parser.add_argument("--start", type=Path, help="train on from the models in this folder, on the scenes of --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--minutes", type=float, help="stop the training of editor or encoder after so many; run again to go on"
    )
    parser.add_argument("--kept", type=Path, default=Path("tiny-models-kept"), help="with --minutes: where it stopped")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no tiny model is called {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    pause = Pause(options.kept, options.minutes) if options.minutes else None
    for name in options.names or NAMES:
        folder = options.out / name
        try:
            if options.verb == "train":
                minutes = train(name, folder, options.seed, options.start and options.start / name, pause)
                write_figures(folder, {**measure(name, folder), "training_minutes": round(minutes, 1)})
                write_hashes(folder)
            check_hashes(folder)
        except NegscaleError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
        if options.verb == "measure":
            print(name, json.dumps(measure(name, folder)), flush=True)
        else:
            print(f"{name}: {folder} as recorded", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
