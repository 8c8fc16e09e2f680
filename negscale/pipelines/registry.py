"""All recipes by name."""

from __future__ import annotations

import difflib

from negscale.core.errors import ConfigError
from negscale.pipelines import (
    answers,
    chexpert_binary,
    embed,
    fetch,
    hardneg_syn,
    negationclip,
    negationclip_p2,
    negbench,
    negbench_video,
    negrefcocog,
    nein,
    nein_eval,
    ranking,
)
from negscale.pipelines.recipe import Recipe

_ALL = (
    negationclip.P1, negationclip_p2.P2, *negbench.RECIPES, negrefcocog.NEGREFCOCOG, chexpert_binary.CHEXPERT_BINARY,
    fetch.FETCH, *nein.RECIPES, nein_eval.NEIN_EVAL, hardneg_syn.HARDNEG_SYN,
    *negbench_video.RECIPES, embed.EMBED, ranking.RANKING, answers.ANSWERS,
)  # fmt: skip
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ALL}


def find_recipe(name: str) -> Recipe:
    """The recipe called `name`. Raises ConfigError naming the nearest one."""
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"no recipe is called {name!r}; {hint}known: {', '.join(sorted(RECIPES))}")
