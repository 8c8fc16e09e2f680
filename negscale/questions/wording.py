"""English for options: templates by kind and negation cue, in the proportions of NegBench's released COCO questions.

NegBench (arXiv 2501.09425) fills one template per kind and lets a language model rewrite each option alone, unchecked;
some rewritten options are answers to the prompt, not captions. Here a small bank of checked sentences stands in, and
each kind's cues follow the released file's counts, so that a set differs from NegBench's in what is right, not in style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from negscale.language.noun_forms import object_words
from negscale.language.nouns import lemma, usually_plural
from negscale.questions.options import Kind

# Cue forms per kind: shares of negations in COCO_val_mcq_llama3.1_rephrased.csv, by negscale.language.mix
CUE_SHARES: dict[Kind, dict[str, float]] = {
    "affirm_one": {"": 1.0},
    "affirm_two": {"": 1.0},
    "deny": {"no": 0.590, "not": 0.373, "lexical": 0.030, "without": 0.004, "none": 0.003},
    "hybrid": {"no": 0.843, "not": 0.075, "lexical": 0.066, "without": 0.011, "none": 0.005},
}

# {a}: "a cat" as subject or object, {is_a}: its verb, {no_a}: "cat" after "no", {is_no_a}: the verb there; b likewise.
TEMPLATES: dict[tuple[Kind, str], tuple[str, ...]] = {
    ("affirm_one", ""): (
        "This image shows {a}.", "This image features {a}.", "{a} {is_a} present in this image.",
        "There {is_a} {a} in this image.", "{a} can be seen in this image.", "This image includes {a}.",
    ),
    ("affirm_two", ""): (
        "This image features {a} and {b}.", "{a} and {b} are present in this image.", "This image shows both {a} and {b}.",
        "{a} and {b} can be seen in this image.", "This image includes {a} and {b}.",
    ),
    ("deny", "no"): (
        "There {is_no_a} no {no_a} in this image.", "No {no_a} {is_no_a} present in this image.",
        "No {no_a} {is_no_a} shown in this image.", "This image shows no {no_a}.", "No {no_a} can be seen in this image.",
    ),
    ("deny", "not"): (
        "This image does not include {a}.", "{a} {is_a} not present in this image.", "{a} {is_a} not included in this image.",
        "This image does not feature {a}.", "{a} {is_a} not shown in this image.",
    ),
    ("deny", "lexical"): ("{a} {is_a} absent from this image.", "This image lacks {a}."),
    ("deny", "without"): ("This is an image without {a}.",),
    ("deny", "none"): ("{a} {is_a} nowhere to be seen in this image.",),
    ("hybrid", "no"): (
        "This image features {a}, but no {no_b} {is_no_b} present.", "This image shows {a}, with no {no_b} in sight.",
        "{a} {is_a} present in this image, but there {is_no_b} no {no_b}.",
        "{a} {is_a} shown in this image, but no {no_b} {is_no_b} visible.", "This image includes {a}, but no {no_b}.",
    ),
    ("hybrid", "not"): (
        "This image includes {a}, but does not feature {b}.", "This image features {a}, but {b} {is_b} not present.",
    ),
    ("hybrid", "lexical"): ("This image includes {a}, but lacks {b}.", "{a} {is_a} present in this image, but {b} {is_b} absent."),
    ("hybrid", "without"): ("This image shows {a} without {b}.",),
    ("hybrid", "none"): ("This image features {a}, but {b} {is_b} nowhere to be seen.",),
}  # fmt: skip


class Wording:
    """Cue forms of a set in the making: their counts follow the shares as closely as whole numbers can."""

    def __init__(self) -> None:
        self._used: dict[Kind, dict[str, int]] = {kind: dict.fromkeys(shares, 0) for kind, shares in CUE_SHARES.items()}

    def cues(self, kinds: Sequence[Kind], rng: np.random.Generator) -> list[str]:
        """Cue forms for options of these kinds, drawn among those that are behind their share; counts nothing."""
        used = {kind: dict(counts) for kind, counts in self._used.items()}
        chosen = []
        for kind in kinds:
            total = sum(used[kind].values()) + 1
            behind = [max(0.0, share * total - used[kind][form]) for form, share in CUE_SHARES[kind].items()]
            at = int(np.searchsorted(np.cumsum(behind), rng.random() * sum(behind), "right"))
            chosen.append(list(used[kind])[at])
            used[kind][chosen[-1]] += 1
        return chosen

    def count(self, kinds: Sequence[Kind], cues: Sequence[str]) -> None:
        """Note that options with these cues were written."""
        for kind, cue in zip(kinds, cues, strict=True):
            self._used[kind][cue] += 1


def sentence(
    kind: Kind, cue: str, objects: Sequence[str], rng: np.random.Generator, longer_than: int = 0
) -> str | None:
    """One option's text of more than so many characters; None where no template gives one.

    objects: class names, the affirmed ones first.

    >>> sentence("hybrid", "lexical", ["apple", "tv"], np.random.default_rng(3), longer_than=40)
    'An apple is present in this image, but a TV is absent.'
    """
    texts = [text for template in TEMPLATES[kind, cue] if len(text := fill(template, objects)) > longer_than]
    return texts[int(rng.integers(len(texts)))] if texts else None


def fill(template: str, objects: Sequence[str]) -> str:
    """A template with its objects in natural number and with articles."""
    fields: dict[str, str] = {}
    for place, name in zip("ab", objects, strict=False):
        words = object_words(name, usually_plural(name) and lemma(name) != "person")
        fields |= {place: words.subject, f"is_{place}": words.are, f"no_{place}": words.after_no}
        fields[f"is_no_{place}"] = words.are_no
    text = template.format(**fields)
    return text[0].upper() + text[1:]


def named_twice(objects: Sequence[str], forms: Mapping[str, str]) -> list[str]:
    """Names that a lexicon's forms cannot tell from an earlier one ("sofa" after "couch")."""
    seen: set[str] = set()
    twice: list[str] = []
    for name in objects:
        known = forms.get(lemma(name), lemma(name))
        (twice if known in seen else []).append(name)
        seen.add(known)
    return twice
