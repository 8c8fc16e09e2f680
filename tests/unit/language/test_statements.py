"""Every wording of a statement says that statement: checked with the grammar that checks LLMs' options."""

from __future__ import annotations

import re

import numpy as np
import pytest

from negscale.language.mirrored import FRAMES, mirrored
from negscale.language.nouns import COCO_80
from negscale.language.polarity import polarity
from negscale.language.statements import restate, template

PAIRS = [(a, COCO_80[(i * 7 + 3) % 80]) for i, a in enumerate(COCO_80) if a != COCO_80[(i * 7 + 3) % 80]]


@pytest.mark.parametrize("shape", ["affirm", "affirm_two", "deny", "both"])
def test_every_wording_keeps_the_truth_value(shape: str) -> None:
    seen = set()
    for number, (first, second) in enumerate(PAIRS):
        affirmed = {"affirm": [first], "affirm_two": [first, second], "deny": [], "both": [first]}[shape]
        denied = [second] if shape in ("deny", "both") else []
        for seed in range(4):
            text = restate(affirmed, denied, np.random.default_rng([number, seed]))
            seen.add(text.replace(first, "A").replace(second, "B"))
            assert [polarity(text, name) for name in affirmed] == ["affirmed"] * len(affirmed), text
            assert [polarity(text, name) for name in denied] == ["denied"] * len(denied), text
        for name in affirmed + denied:
            assert polarity(template(affirmed, denied), name) == ("affirmed" if name in affirmed else "denied")
    assert len(seen) >= 7


@pytest.mark.parametrize("shape", ["affirm", "deny", "both"])
def test_mirrored_wordings_keep_the_truth_value(shape: str) -> None:
    for number, (first, second) in enumerate(PAIRS):
        for seed in range(8):
            affirmed, denied = (first if shape != "deny" else None), (second if shape != "affirm" else None)
            text = mirrored(affirmed, denied, np.random.default_rng([number, seed]), "photo")
            assert affirmed is None or polarity(text, affirmed) == "affirmed", text
            assert denied is None or polarity(text, denied) == "denied", text


def test_a_mirrored_denial_is_its_affirmation_and_a_cue() -> None:
    cues = {"not", "cannot", "no", "n't", "absent", "without", "lacks", "does", "do", "from"}
    for affirming, denying in FRAMES:
        affirmed, denied = ({*re.sub(r"\{\w+\}|n't", " ", form).lower().split()} for form in (affirming, denying))
        stems = {word.removesuffix("s") for word in affirmed}
        new = {word for word in denied - affirmed - cues if word.removesuffix("s") not in stems}
        assert not new, (affirming, denying)


def test_nothing_stated_is_an_error() -> None:
    with pytest.raises(ValueError, match="needs an object"):
        template([], [])
    with pytest.raises(ValueError, match="needs an object"):
        restate([], [], np.random.default_rng(0))
    with pytest.raises(ValueError, match="needs an object"):
        mirrored(None, None, np.random.default_rng(0))
