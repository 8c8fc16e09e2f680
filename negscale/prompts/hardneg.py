"""The prompt of HardNeg-Syn's scenes (NegBench, Alhamoud et al., arXiv 2501.09425, section D.1).

The paper's step: for a label, an LLM names a background and a related object. The wording and the examples are ours. What
differs: the answer is parsed strictly; one that is no pair of short names is None.
"""

from __future__ import annotations

import re

from negscale.prompts.negationclip import quoted

SYSTEM = "You think of scenes for photographs. You answer with a setting, a bar and an object, and nothing else."
SCENE = (
    "Name a setting in which '{label}' is often photographed, and another object that is often next to it there. "
    "Answer as: setting | object"
)
EXAMPLES = (
    ("golden retriever", "a garden | tennis ball"),
    ("espresso", "a cafe table | croissant"),
    ("school bus", "a city street | traffic light"),
    ("acoustic guitar", "a living room | amplifier"),
)
WITH = "{background} with {label} next to {companion}"
WITHOUT = "{background} with {label}"

_SETTING = re.compile(r"^[^\W\d_][\w'’ -]{1,60}$")
_NAME = re.compile(r"^[^\W\d_][\w'’-]*(?: [\w'’-]+){0,2}$")
_LEAD = re.compile(r"^(?:an?|the|some) ", re.I)


def scene_prompt(label: str) -> str:
    """The user turn that asks for a scene."""
    return SCENE.format(label=quoted(label))


def parse_scene(answer: str) -> tuple[str, str] | None:
    """(setting, object) of "setting | object", without the object's article; None for anything else.

    >>> parse_scene("A garden | a tennis ball."), parse_scene("Sure! a garden | ball"), parse_scene("a garden, a ball")
    (('a garden', 'tennis ball'), None, None)
    """
    text = answer.strip().strip("\"'`").rstrip(". ").strip()
    parts = [part.strip() for part in text.split("|")]
    if len(parts) != 2 or "\n" in text:
        return None
    setting, name = parts[0], _LEAD.sub("", parts[1]).strip().lower()
    if not _SETTING.match(setting) or not _NAME.match(name):
        return None
    return setting[:1].lower() + setting[1:], name


def texts() -> dict[str, object]:
    """Every prompt by name, for fingerprints."""
    return {"scene": (SYSTEM, SCENE, EXAMPLES), "pair": (WITH, WITHOUT)}
