"""Which class of a closed vocabulary a claimed object names: exact names, plurals and synonyms, never guesses."""

from __future__ import annotations

from collections.abc import Sequence

from negscale.core.stage import Fault
from negscale.language.nouns import lemma, synonyms


class Vocabulary:
    """Class names of a detector or an annotation file, looked up by what a caption writer would call them."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._known: dict[str, str] = {}
        for name in names:
            for word in synonyms(name):
                self._known.setdefault(word, name)
        self._known |= {lemma(name): name for name in names}  # a class's own name beats another's synonym
        self._known |= {name: name for name in names}

    def find(self, claim: str) -> str | None:
        """The class that `claim` names, None outside of the vocabulary ("sofas" -> "couch", "tree" -> None).

        A narrower term ("man") is outside: the presence of a person does not say whether the man is there.
        """
        if claim in self._known:
            return self._known[claim]
        try:
            return self._known.get(lemma(claim))
        except ValueError:  # nothing left of an empty claim
            return None


def outside(claim: str, size: int) -> Fault:
    """The answer to a claim that a judge cannot decide; it must never count as absent."""
    return Fault(
        "outside_vocabulary",
        f"{claim!r} is none of the {size} objects that this judge knows; propose from its vocabulary or use another judge",
    )
