"""What an option claims: which objects it affirms, which it denies, and so its type.

NegBench (arXiv 2501.09425, section 3) names three types by their template: positive, negative, hybrid. Its released
captions are rewritten by a language model, so that the type has to be read off the text: cues and their scope from
``negscale.language``, objects from a lexicon. A positive option with one object and one with two are told apart, since
in the released files the first is never right and the second practically always.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from negscale.language.scope import NegatedSpan, negated_spans
from negscale.language.tokens import tokenise
from negscale.questions.lexicon import Lexicon, Mention

Kind = Literal["affirm_two", "hybrid", "deny", "affirm_one", "other"]
KINDS: tuple[Kind, ...] = ("affirm_two", "hybrid", "deny", "affirm_one", "other")
"""``other``: no cue and no object of the lexicon."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An option's content: classes affirmed and denied in order of mention, and the forms of its negation cues."""

    affirmed: tuple[str, ...]
    denied: tuple[str, ...]
    cues: tuple[str, ...]

    @property
    def kind(self) -> Kind:
        """Its type. A cue whose object the lexicon does not know denies something all the same."""
        if self.cues:
            return "hybrid" if self.affirmed and self.denied else "deny"
        return "affirm_two" if len(self.affirmed) > 1 else "affirm_one" if self.affirmed else "other"


def claim_of(text: str, lexicon: Lexicon) -> Claim:
    """The claim of one option.

    >>> from negscale.questions.lexicon import ANNOTATED
    >>> claim_of("This image shows people, but no television.", ANNOTATED)
    Claim(affirmed=('person',), denied=('tv',), cues=('no',))
    """
    mentions = lexicon.mentions(text)
    spans = negated_spans(text)
    denied: list[str] = []
    rest = list(mentions)
    for span in spans:
        inside = _denied_by(span, text, rest)
        denied += [mention.name for mention in inside] or sorted(lexicon.classes(span.implied))[:1]
        rest = [mention for mention in rest if mention not in inside]
    affirmed = dict.fromkeys(mention.name for mention in rest)
    return Claim(tuple(affirmed), tuple(dict.fromkeys(denied)), tuple(span.form for span in spans))


def claims_of(texts: Sequence[str], lexicon: Lexicon) -> list[Claim]:
    """Claims of many texts, in their order."""
    return [claim_of(text, lexicon) for text in texts]


def _denied_by(span: NegatedSpan, text: str, mentions: Sequence[Mention]) -> list[Mention]:
    """Mentions in the span's core; where it names none, the nearest after the cue, else the nearest before it.

    The fallback follows the rule that the published blind numbers were made with: paraphrases put the object out of
    reach of any grammar now and then ("no sign whatsoever, here, of a dog").
    """
    tokens = tokenise(text)
    if span.start < span.end:
        low, high = tokens[span.start].start, tokens[span.end - 1].end
        inside = [mention for mention in mentions if mention.start < high and mention.end > low]
        if inside:
            return inside
    if span.implied:
        return []
    at = tokens[span.cue_start].start
    after = [mention for mention in mentions if mention.start >= at]
    before = [mention for mention in mentions if mention.start < at]
    return after[:1] or before[-1:]
