"""``python -m tests.acceptance.driver PIPELINE ROOT JSON``: a driver of a test pipeline, to be killed or watched."""

from __future__ import annotations

import json
import sys

from negscale.cli import guarded
from negscale.core.stage import Resources
from negscale.executors.drive import generate
from negscale.executors.ray_data import RayDataExecutor
from tests import support


def main() -> int:
    name, root, text = sys.argv[1:4]
    options = json.loads(text)
    runtime = {"ray_cpus": 10, **options.pop("runtime", {})}
    if "workers" in options and name == "poisoned":
        options["resources"] = Resources(actors=options.pop("workers"), cpus=0.5)
    build = support.factory(getattr(support, name), **options)
    spec = support.spec_of(root, build, **runtime)
    return guarded(lambda: print(generate(spec, RayDataExecutor(), spec.pipeline.source.list()).content_digest))


if __name__ == "__main__":
    sys.exit(main())
