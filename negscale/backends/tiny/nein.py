"""Answers to NeIn's questions about an edited picture, by looking at toyworld's pixels (arXiv 2409.06481, section 3.1)."""

from __future__ import annotations

import re

from negscale.backends.tiny.matcher import objects_in
from negscale.backends.tiny.vision import find, object_named
from negscale.core.backend import Image

_CAPTION = re.compile(r"does the caption \"(?P<caption>.*)\" describe this image", re.I | re.S)
_OBJECT = re.compile(r"does (?:this|the) image contain (?P<object>[^?]+?)\?", re.I)


def asks(text: str) -> bool:
    """Whether a prompt is one of the two questions."""
    return _CAPTION.search(text) is not None or _OBJECT.search(text) is not None


def answer(text: str, image: Image) -> bool:
    """Yes or no to a prompt that `asks`: every object of the caption is there; the object is there."""
    if (caption := _CAPTION.search(text)) is not None:
        return all(find(image, name).score >= 0.5 for name in objects_in(caption["caption"]))
    asked = _OBJECT.search(text)
    assert asked is not None
    name = object_named(asked["object"])
    return name is not None and find(image, name).score >= 0.5  # what toyworld does not have is not in its pictures
