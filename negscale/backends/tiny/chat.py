"""A grammar that follows NegationCLIP's three instructions, in place of Llama-3 and LLaVA (arXiv 2501.10913, 3).

It reads the last user turn as a model would: names a likely unmentioned object (by toyworld's places), answers whether
an object is in the image (by looking at the pixels), or writes the absence of an object into a caption, in the forms
and positions that people use. Every draw is a function of the request's text and seed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np

from negscale.backends.tiny import negbench, nein
from negscale.backends.tiny.merge import MALFORMED as MALFORMED_MERGE
from negscale.backends.tiny.merge import merge_answer
from negscale.backends.tiny.misbehaviour import Conduct, Misbehaviour
from negscale.backends.tiny.vision import find, object_named
from negscale.core.backend import ChatRequest, Image, Reply, Turn
from negscale.core.config import Config
from negscale.core.rng import rng_for
from negscale.core.stage import Fault
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import PLACE_BY_NAME

VERSION = 1

_PROPOSE = re.compile(r"name an? object\b.*\bnot mentioned in the caption\b.*?['\"](?P<caption>.*)['\"]", re.I | re.S)
_RANDOM = re.compile(r"name an? random object", re.I)
_VERIFY = re.compile(r"(?:is|are) there (?:an? |any |some )?(?P<object>[^?]+?) in (?:this|the) (?:image|picture)", re.I)
_NEGATE = re.compile(
    r"add the absence of (?:the |an? )?(?P<object>.+?) to the caption ['\"](?P<caption>.*)['\"]", re.I | re.S
)
_PLACE = re.compile(rf"\s(?P<phrase>(?:in|on|at) the (?P<name>{'|'.join(PLACE_BY_NAME)}))\b(?P<rest>.*)$", re.I | re.S)
_NOUN = re.compile(rf"\b(?:{'|'.join(OBJECTS)})(?:s|es)?\b", re.I)

_LATE = (
    "{text} with no {o}", "{text} without {a_o}", "{text}, but there is no {o}", "{text}, but {a_o} is not there",
    "{text}, and there isn't {a_o}",
)  # fmt: skip
_MIDDLE = ("{head} with no {o} {place}", "{head} without {a_o} {place}", "{head}, with no {o} nearby, {place}")
_MIDDLE_AFTER_NOUN = (*_MIDDLE, "{head}, not {a_o}, {place}")
_EARLY = ("With no {o} nearby, {lower}", "Without {a_o}, {lower}", "There is no {o} here, but {lower}")

_MALFORMED = {
    "propose": ("", "I'm sorry, but the caption does not let me say which object that could be.", "\ufffd\ufffd {{[["),
    "verify": ("maybe", "I cannot tell from this image.", "", "yes and no"),
    "negate": ("", "\ufffd\ufffd {{[[", "\n\n"),
    "merge": MALFORMED_MERGE,
    "list": ("", "Sure! Here are some objects:", "- cup\n- tree", "\ufffd\ufffd {{[["),
    "validate": ("maybe", "", "yes and no"),
}


class TinyChatConfig(Config):
    """The embedded instruction follower, for text and for toyworld's pictures."""

    kind: Literal["tiny_chat"] = "tiny_chat"
    misbehaviour: Misbehaviour = Misbehaviour()

    def build(self) -> TinyChat:
        """The backend, not yet loaded."""
        return TinyChat(self)


class TinyChat:
    """ChatModel: understands the prompts of P1, P2, NegBench and NeIn; any other prompt is a Fault."""

    exact = True
    accepts_images = True

    def __init__(self, config: TinyChatConfig | None = None) -> None:
        self._conduct = Conduct((config or TinyChatConfig()).misbehaviour)

    @property
    def id(self) -> str:
        return f"tiny/chat@{VERSION}"

    def load(self) -> None:
        return None

    def close(self) -> None:
        return None

    def generate(self, requests: Sequence[ChatRequest]) -> list[Reply | Fault]:
        """One reply per request; depends on that request alone."""
        texts = ["\n".join(turn.text for turn in request.turns) for request in requests]
        self._conduct.before_call(texts, [request.seed for request in requests])
        return [self._answer(request, text) for request, text in zip(requests, texts, strict=True)]

    def _answer(self, request: ChatRequest, text: str) -> Reply | Fault:
        asked = next((turn for turn in reversed(request.turns) if turn.role == "user"), Turn("user", ""))
        rng = rng_for(request.seed, "tiny_chat", asked.text)
        if (merged := merge_answer(asked.text, rng)) is not None:  # first: its prompt quotes a question
            task, said = "merge", merged
        elif (of_lists := negbench.answer(asked.text, rng)) is not None:
            task, said = of_lists
        elif found := _NEGATE.search(asked.text):
            task, said = "negate", negated(found["caption"], found["object"], rng)
        elif nein.asks(asked.text) or _VERIFY.search(asked.text):
            task = "verify"
            if asked.image is None:
                return Fault("missing_pixels", f"the question {asked.text!r} came without an image")
            said = (("No", "no", "No."), ("Yes", "yes", "Yes."))[_seen(asked.image, asked.text)][int(rng.random() * 3)]
        elif found := _PROPOSE.search(asked.text):
            task, said = "propose", _spoken(likely_object(found["caption"], rng), rng)
        elif _RANDOM.search(asked.text):
            task, said = "propose", _spoken(OBJECTS[int(rng.random() * len(OBJECTS))], rng)
        else:
            return Fault("unknown_prompt", f"the tiny model knows no such instruction: {asked.text[:200]!r}")
        if self._conduct.malforms(text, request.seed):
            said = _MALFORMED[task][int(rng.random() * len(_MALFORMED[task]))]
        return Reply(said, "stop", len(text.split()), len(said.split()))


def likely_object(caption: str, rng: np.random.Generator) -> str:
    """An object that `caption` does not mention, drawn by how likely it is in the place that the caption names."""
    place = _PLACE.search(caption)
    weights = PLACE_BY_NAME[place["name"].lower()].weights() if place else np.ones(len(OBJECTS))
    mentioned = {object_named(noun) for noun in _NOUN.findall(caption)}
    weights = weights * np.array([name not in mentioned for name in OBJECTS])
    at = int(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), "right"))
    return OBJECTS[min(at, len(OBJECTS) - 1)]


def negated(caption: str, absent_object: str, rng: np.random.Generator) -> str:
    """`caption` with the absence of the object in it: no, not or without; early, in the middle or late."""
    full_stop = "." if caption.rstrip().endswith(".") else ""
    text = caption.strip().rstrip(".")
    noun = absent_object.strip().lower()
    words = {"o": noun, "a_o": _with_article(noun), "text": text, "lower": _lower_article(text)}
    forms: tuple[str, ...] = (_LATE, _EARLY)[int(rng.random() < 0.3)]
    place = _PLACE.search(text)
    if place and not place["rest"].strip() and rng.random() < 0.4:
        words |= {"head": text[: place.start()], "place": place["phrase"]}
        last = words["head"].rsplit(" ", 1)[-1]
        forms = _MIDDLE_AFTER_NOUN if _NOUN.fullmatch(last) else _MIDDLE
    return forms[int(rng.random() * len(forms))].format(**words) + full_stop


def _seen(image: Image, question: str) -> bool:
    found = _VERIFY.search(question)
    if found is None:
        return nein.answer(question, image)
    name = object_named(found["object"])
    # what toyworld does not have is not in its pictures
    return name is not None and find(image, name).score >= 0.5


def _spoken(word: str, rng: np.random.Generator) -> str:
    return (word, word.capitalize(), f"{word.capitalize()}.")[int(rng.random() * 3)]


def _with_article(noun: str) -> str:
    return f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}"


def _lower_article(text: str) -> str:
    first = text.split(" ", 1)[0]
    return text[:1].lower() + text[1:] if first in ("A", "An", "The", "There", "Two", "Some") else text
