"""The build `negmcq_balanced`: questions whose texts say nothing about the answer (see `negscale.questions.balanced`)."""

from __future__ import annotations

from typing import Any

from negscale.builds.presence import PresenceConfig, ToyworldPresenceConfig
from negscale.core.config import Config
from negscale.core.errors import PlanError
from negscale.questions.balanced import BalancedOptions, build_balanced
from negscale.storage.folder import open_folder

NAME = "negmcq_balanced"


class BalancedBuildConfig(Config):
    """A balanced set over the pictures of a source."""

    seed: int = 0
    """Of every draw: the same seed, source and options give the same questions."""
    source: PresenceConfig = ToyworldPresenceConfig()
    options: BalancedOptions = BalancedOptions()


def build(config: BalancedBuildConfig, out: str) -> dict[str, Any]:
    """Write questions.csv, pairs.csv and manifest.json (last) to the folder `out`; returns the manifest.

    A build that was killed is begun anew and gives the same bytes; one that is there already is left as it is. Raises
    PlanError when `out` holds another build, and when the pictures do not suffice.
    """
    built = build_balanced(config.source.table(), config.seed, config.options)
    manifest = built.manifest()
    place = open_folder(out)
    if place.exists("manifest.json") and place.read("manifest.json") != built.manifest_bytes():
        raise PlanError(f"{out} holds another build; give another folder, or delete that one")
    built.write(out)
    return {**manifest, "folder": out}
