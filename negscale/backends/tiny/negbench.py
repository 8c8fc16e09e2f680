"""What the tiny chat model answers to NegBench's prompts: a grammar over toyworld's sixteen objects.

Stands where the authors ask Llama-3.1-70B (arXiv 2501.09425, sections 2.2 and 2.3). Every draw is a function of the
request's text and seed.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from negscale.backends.tiny.vision import object_named
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import PLACE_BY_NAME
from negscale.language.polarity import polarity
from negscale.language.statements import restate

_EXTRACT = re.compile(r"list the objects in the caption '(?P<caption>.*)'", re.I | re.S)
_PROPOSE = re.compile(
    r"name five objects that are often seen together with (?P<known>.*?), but are not mentioned in the caption "
    r"'(?P<caption>.*)'",
    re.I | re.S,
)
_VALIDATE = re.compile(r"consist of names of objects, with no additional words\? (?P<objects>.*)$", re.I | re.S)
_NEGCAP = re.compile(
    r"rewrite the caption '(?P<caption>.*)' so that it first says (?P<first>what it says|that)"
    r".*?there is no (?P<object>[\w ’-]+?)(?: and then what it says)?\.?$",
    re.I | re.S,
)
_REPHRASE = re.compile(r"say this in other words: '(?P<text>.*)'", re.I | re.S)
_NEGBENCH_TEMPLATE = re.compile(
    r"^(?:There (?:is|are) no (?P<first>[\w ]+?) in the image\. (?P<after>.*)|(?P<before>.*)\. There (?:is|are) no "
    r"(?P<last>[\w ]+?) in the image\.?)$",
    re.S,
)

_LATE = (
    "{text}, but there is no {o}", "{text}, with no {o} around", "{text} without {a_o}", "{text}, but no {o} can be seen",
)  # fmt: skip
_EARLY = (
    "There is no {o} here, but {lower}", "Without {a_o}, {lower}", "No {o} is present, but {lower}",
    "With no {o} around, {lower}",
)  # fmt: skip

Write = Callable[[str, str, np.random.Generator], str]


def answer(asked: str, rng: np.random.Generator) -> tuple[str, str] | None:
    """(task, answer) for a NegBench prompt; None for any other."""
    if found := _EXTRACT.search(asked):
        return "list", ", ".join(_stated(found["caption"])) or "none"
    if found := _PROPOSE.search(asked):
        return "list", ", ".join(_likely(found["caption"], found["known"], rng))
    if found := _VALIDATE.search(asked):
        names = [name.strip() for name in found["objects"].split(",")]
        return "validate", "Yes" if all(object_named(name) for name in names) else "No"
    if found := _NEGCAP.search(asked):
        early = found["first"].lower().startswith("that")
        return "negate", _written(found["caption"], found["object"], early, rng)
    if found := _REPHRASE.search(asked):
        return "negate", _rephrased(found["text"], rng)
    return None


def _stated(caption: str) -> list[str]:
    return [name for name in OBJECTS if polarity(caption, name) == "affirmed"]


def _likely(caption: str, known: str, rng: np.random.Generator) -> list[str]:
    """Five objects of the caption's place, the likelier the sooner, none that is known."""
    place = next((p for name, p in PLACE_BY_NAME.items() if re.search(rf"\b{name}\b", caption, re.I)), None)
    weights = place.weights() if place else np.full(len(OBJECTS), 1 / len(OBJECTS))
    free = [i for i, name in enumerate(OBJECTS) if not polarity(caption, name) and name not in known]
    chances = weights[free] / weights[free].sum()
    drawn = rng.choice(len(free), size=min(5, len(free)), replace=False, p=chances)
    return [OBJECTS[free[int(k)]] for k in drawn]


def _written(caption: str, absent: str, early: bool, rng: np.random.Generator) -> str:
    text = caption.strip().rstrip(".").strip()
    article = f"{'an' if absent[:1] in 'aeiou' else 'a'} {absent}"
    first = text.split(" ", 1)[0]
    lower = text[:1].lower() + text[1:] if first in ("A", "An", "The", "There", "Two", "Some") else text
    forms = _EARLY if early else _LATE
    return forms[int(rng.random() * len(forms))].format(text=text, lower=lower, o=absent, a_o=article) + "."


def _rephrased(text: str, rng: np.random.Generator) -> str:
    if found := _NEGBENCH_TEMPLATE.match(text.strip()):
        early = found["first"] is not None
        return _written(found["after"] or found["before"], found["first"] or found["last"], early, rng)
    affirmed = [name for name in OBJECTS if polarity(text, name) == "affirmed"]
    denied = [name for name in OBJECTS if polarity(text, name) == "denied"]
    return restate(affirmed, denied, rng) if affirmed or denied else text
