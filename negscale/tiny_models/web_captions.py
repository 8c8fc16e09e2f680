"""What the tiny CLIP is trained on: captions as the web has them, almost none of which denies anything.

Alt texts of a drawn scene: captions, bare lists of things, remarks about the picture. As many of them deny something as
in LAION-400M by the count of NegationCLIP (arXiv 2501.10913, section 1: 0.704 % of the captions hold a negation word). And
as on the web they tell little of the picture: "no dogs allowed" stands beside a dog as often as beside none. Were they true
of what is drawn, a model of so small a world would learn negation from these few.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from negscale.core.rng import rng_for
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import Scene, captions, scene
from negscale.language.realise import FORMS, realise
from negscale.language.statements import restate

NEGATED_SHARE = 0.00704
_CAPTIONS = 5
_ABSENT = 0.5  # of the things denied, so many are not in the picture
_ONE = (
    "{a}", "a photo of {a}", "a picture of {a}", "an image of {a}", "a drawing of {a}", "photo of {a} {place}",
    "{a} {place}", "{A} is visible {place}", "{A} is present in the scene", "The scene includes {a}",
    "The photo contains {a}", "This image includes {a}", "{A} in sight", "In this picture there is {a}",
    "{A} is shown here", "here is {a}", "{A} nearby", "The scene has {a}", "{A} is there {place}",
)  # fmt: skip
_MORE = (
    "{list}", "a photo of {list}", "a picture of {list} {place}", "{List} {place}", "{List} are visible in the picture",
    "The scene includes {list}", "The photo contains both {list}", "This image shows {list}", "{List} in view",
    "{List} are present {place}", "In this picture there are {list}", "a scene with {list}", "{List} can be seen here",
)  # fmt: skip
_PLACE = ("{place}", "a photo taken {place}", "a scene {place}")
_DENIALS = (
    "{A} isn't here", "There isn't {a} {place}", "You can't see {a} {place}", "This scene doesn't show {a}",
    "{A} is nowhere {place}", "nowhere {place} is there {a}",
)  # fmt: skip


def web_caption(what: Scene, world: int, index: int) -> str:
    """A caption of scene `index` of the drawn world `world`: true, but for the few that deny something."""
    rng = rng_for(world, "web caption", index)
    if rng.random() < NEGATED_SHARE:
        return _denial(what, world, index, rng)
    kind = rng.random()
    if kind < 0.5:
        return _said(what, world, index)
    names = rng.permutation(sorted(what.names)).tolist()
    if kind < 0.65:
        return restate(names[: 1 + int(rng.random() < 0.6)], (), rng, ("image", "picture", "photo", "scene")[index % 4])
    if kind < 0.67:
        return _PLACE[int(rng.random() * len(_PLACE))].format(place=what.place.phrase)
    count = 1 if len(names) == 1 or kind < 0.8 else 2 + int(rng.random() * (len(names) - 1))
    shown = [_with_article(name) for name in names[:count]]
    listed = shown[0] if count == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
    forms = _ONE if count == 1 else _MORE
    words = {"a": listed, "A": _upper(listed), "list": listed, "List": _upper(listed), "place": what.place.phrase}
    return forms[int(rng.random() * len(forms))].format(**words)


def denials(world: int, scenes: range) -> Iterator[str]:
    """What `web_caption` says of each scene where it denies: the wordings that a tokenizer has to know."""
    for index in scenes:
        yield _denial(scene(world, index), world, index, rng_for(world, "web denial", index))


def _denial(what: Scene, world: int, index: int, rng: np.random.Generator) -> str:
    """A denial of what one would expect in the place, there or not."""
    absent = [name for name in OBJECTS if name not in what.names]
    weights = np.array([what.place.likely.get(name, 1.0) for name in absent])
    likely = absent[int(rng.choice(len(absent), p=weights / weights.sum()))]
    name = likely if rng.random() < _ABSENT else sorted(what.names)[int(rng.random() * len(what.names))]
    kind = rng.random()
    if kind < 0.2:
        form = _DENIALS[int(rng.random() * len(_DENIALS))]
        return form.format(A=_upper(_with_article(name)), a=_with_article(name), place=what.place.phrase)
    said = _said(what, world, index)
    if kind < 0.8 and not re.search(rf"\b{name}", said, re.IGNORECASE):
        form = FORMS[
            int(rng.random() * len(FORMS))
        ]  # every cue as often as the next: rare ones have to be met to be words
        return realise(said, name, rng, forms=(form,)).text
    affirmed = [other for other in sorted(what.names) if other != name][:1] if rng.random() < 0.5 else []
    return restate(affirmed, [name], rng)


def _said(what: Scene, world: int, index: int) -> str:
    return captions(what, world, index, _CAPTIONS)[index % _CAPTIONS]


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
