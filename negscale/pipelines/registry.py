"""All recipes by name."""

from __future__ import annotations

import difflib

from negscale.core.errors import ConfigError
from negscale.pipelines import negationclip
from negscale.pipelines.recipe import Recipe

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (negationclip.P1,)}


def find_recipe(name: str) -> Recipe:
    """The recipe called `name`. Raises ConfigError naming the nearest one."""
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"no recipe is called {name!r}; {hint}known: {', '.join(sorted(RECIPES))}")
