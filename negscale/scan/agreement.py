"""Does the negation of a caption agree with its image? The share of denied objects that a judge finds absent.

NegationCLIP (arXiv 2501.10913, section 1) argues that web captions rarely negate, and that their negations rarely describe the
image. Here every explicit negation that names a noun ("no dog", "without a hat") is put to a judge as the claim "this object
is in the image"; the negation is confirmed when the judge refuses the claim.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from negscale.core.backend import Judge, Picture
from negscale.core.stage import Fault
from negscale.language.nouns import singular
from negscale.language.scope import NegatedSpan, negated_spans
from negscale.language.tokens import Token, tokenise
from negscale.metrics.statistics import wilson_interval

_FORMS = frozenset({"no", "without", "neither", "not"})
_INSIDE = frozenset({"DET", "ADJ", "NUM", "NOUN", "PUNCT"})
_BATCH = 64


@dataclass(frozen=True, slots=True)
class Agreement:
    """Negations that name a noun: how many a judge decided, and how many of them it confirmed (95 % Wilson interval).

    ``undecided`` counts why the rest was not decided (the kinds of faults; ``unparsed`` for an answer without a verdict).
    ``refuted`` holds up to 20 (image id, object, caption) whose object the judge sees.
    """

    captions: int  # with a negation that names a noun
    decided: int
    confirmed: int
    low: float
    high: float
    undecided: dict[str, int]
    refuted: tuple[tuple[str, str, str], ...]

    @property
    def share(self) -> float | None:
        """confirmed / decided; None when nothing was decided."""
        return self.confirmed / self.decided if self.decided else None


def denied_objects(caption: str) -> tuple[str, ...]:
    """Nouns whose presence the caption denies outright: "no dogs" gives "dog"; "not riding a horse" gives nothing.

    Of a list ("no cats or dogs") each member; the head with the nouns before it ("no fire hydrant" gives "fire hydrant").
    """
    tokens = tokenise(caption)
    found: list[str] = []
    for span in negated_spans(caption):
        if span.form in _FORMS and span.start >= span.cue_end:
            found += _nouns(tokens[span.start : span.end], span)
    return tuple(dict.fromkeys(found))


def _nouns(inside: Sequence[Token], span: NegatedSpan) -> Iterator[str]:
    """The head of every member of a denied noun phrase; nothing when a verb or a place is denied with it."""
    if span.form == "not" and not (inside and inside[0].pos == "DET"):
        return  # "not red", "not open"
    member: list[Token] = []
    for token in [*inside, None]:
        if token is not None and token.pos == "NOUN":
            member.append(token)
            continue
        if member:
            yield singular(" ".join(t.lower for t in member))
            member = []
        if token is not None and token.lower not in ("or", "nor", "and") and token.pos not in _INSIDE:
            return


def agreement(rows: Iterable[tuple[Picture | Fault, str]], judge: Judge) -> Agreement:
    """Put every denied noun of (picture, caption) rows to the judge, whose `load` has been called.

    Pictures carry pixels when the judge needs them; a Fault stands for one that could not be read. Rows without a negation
    that names a noun are passed over.
    """
    captions = decided = confirmed = 0
    undecided: Counter[str] = Counter()
    refuted: list[tuple[str, str, str]] = []

    def all_claims() -> Iterator[tuple[Picture, str, str]]:
        nonlocal captions
        for picture, caption in rows:
            objects = denied_objects(caption)
            captions += bool(objects)
            if isinstance(picture, Fault):
                undecided[picture.kind] += len(objects)
                continue
            yield from ((picture, name, caption) for name in objects)

    claims = all_claims()
    while batch := list(islice(claims, _BATCH)):
        verdicts = judge.judge([picture for picture, _, _ in batch], [name for _, name, _ in batch])
        for (picture, name, caption), verdict in zip(batch, verdicts, strict=True):
            if isinstance(verdict, Fault):
                undecided[verdict.kind] += 1
            elif verdict.accept is None:
                undecided["unparsed"] += 1
            else:
                decided += 1
                confirmed += not verdict.accept
                if verdict.accept and len(refuted) < 20:
                    refuted.append((picture.image_id, name, caption))
    return Agreement(
        captions, decided, confirmed, *wilson_interval(confirmed, decided), dict(undecided), tuple(refuted)
    )
