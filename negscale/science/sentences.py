"""The sentences of the exams: frames and negation cues that no fine-tuning text has.

Pre-training has seen the words, as CLIP has seen all words: "doesn't", "don't" and "can't" stand in a few captions of a
thousand, and fine-tuning has seen their pieces: "'t" in "isn't", "can" in "can be seen".
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from negscale.core.rng import rng_for
from negscale.science.split import frame_of

# {a}, {b}: things with their article; {p}: the place; upper case: at the start of a sentence
STATE = {
    (1, 0): ("In this picture there is {a}", "The photo contains {a}", "The scene includes {a}"),
    (2, 0): ("In this picture there are {a} and {b}", "The photo contains {a} and {b}", "The scene includes {a} and {b}"),
    (0, 1): ("In this picture you don't see {a}", "The photo doesn't contain {a}", "You can't find {a} in the scene"),
    (1, 1): (
        "In this picture there is {a}, but you don't see {b}", "The photo contains {a}, but it doesn't contain {b}",
        "The scene includes {a}, but you can't find {b}",
    ),
}  # fmt: skip
CAPTION = {
    1: ("a photo of {a} {p}", "The scene {p} includes {a}", "In this picture there is {a} {p}"),
    2: ("a photo of {a} and {b} {p}", "The scene {p} includes {a} and {b}", "In this picture there are {a} and {b} {p}"),
}  # fmt: skip
DENYING_CAPTION = (
    "a photo of {a} {p} where you can't see {b}", "In this picture there is {a} {p}, but it doesn't show {b}",
    "This picture of {a} {p} doesn't show {b}", "This photo of {a} {p} doesn't contain {b}",
    "The scene {p} includes {a}, but it doesn't include {b}",
)  # fmt: skip
REFERRING = (
    "a photo of {a} where you can't see {b}", "{A}, but the picture doesn't show {b}", "a picture of {a} that doesn't show {b}",
)  # fmt: skip
CLASS = ("a photo of {a}",)


def say(forms: Sequence[str], names: Sequence[str], place: str = "", seed: int = 0) -> str:
    """One of the forms, drawn by its content, with its things and place.

    >>> say(CLASS, ["umbrella"])
    'a photo of an umbrella'
    """
    form = forms[int(rng_for(seed, "sentence", *names, place).random() * len(forms))]
    words = {"p": place}
    for letter, name in zip("ab", names, strict=False):
        said = f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
        words |= {letter: said, letter.upper(): said[0].upper() + said[1:]}
    return form.format(**words)


def statement(affirmed: Sequence[str], denied: Sequence[str], seed: int = 0) -> str:
    """What is there and what is not. Raises KeyError for more than two things."""
    return say(STATE[len(affirmed), len(denied)], [*affirmed, *denied], seed=seed)


@cache
def exam_frames() -> frozenset[str]:
    """The frames of every sentence that an exam can hold."""
    groups = [*STATE.values(), *CAPTION.values(), DENYING_CAPTION, REFERRING, CLASS]
    words = {"a": "a dog", "b": "a cat", "A": "A dog", "B": "A cat", "p": "in the park"}
    return frozenset(frame_of(form.format(**words)) for forms in groups for form in forms)
