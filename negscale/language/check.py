"""Check that a rewritten caption denies the absent object and nothing else.

Goes beyond NegationCLIP P1 (arXiv 2501.10913, section 3), whose released code trusts the language model's rewriting. A
negated caption is accepted when a negation's *scope* covers the absent object, the content words of the original are
kept, no new object is asserted and nothing is denied that the captions of the image state. The first failed condition
is the reason, a stable snake_case label:

``empty``, ``not_a_caption``, ``too_long``, ``bad_object``, ``no_negation``, ``object_asserted``,
``object_not_in_scope``, ``denies_caption_object``, ``other_object_denied``, ``content_dropped``, ``new_object_asserted``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from negscale.language.caches import WORDS
from negscale.language.content import GENERIC_NOUNS, dangling_article, dropped_content, match_keys, new_nouns
from negscale.language.nouns import mentions, synonyms
from negscale.language.polarity import asserted_segments, covers, denied_indices, denying_denies
from negscale.language.scope import NegatedSpan, negated_spans
from negscale.language.tokens import Token, tokenise

REASONS: Final = (
    "empty",
    "not_a_caption",
    "too_long",
    "bad_object",
    "no_negation",
    "object_asserted",
    "object_not_in_scope",
    "denies_caption_object",
    "other_object_denied",
    "content_dropped",
    "new_object_asserted",
)


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """Thresholds of the check; the defaults are those of object-absence captions (NegationCLIP P1).

    ``caption_may_state_object`` is for pairs whose negation takes back what the caption states ("a man with a helmet"
    to "a man without a helmet"): denying a stated object is then no error, and words that only tied the denied object to
    the rest ("holding a bat" to "without a bat") may go.
    """

    max_words: int = 60
    max_added_words: int = 20
    max_dropped_words: int = 0
    max_new_nouns: int = 0
    max_extra_denied: int = 0
    caption_may_state_object: bool = False
    allow_quotes: bool = False

    def __post_init__(self) -> None:
        for name in ("max_words", "max_added_words", "max_dropped_words", "max_new_nouns", "max_extra_denied"):
            value = getattr(self, name)
            if value < 0:
                raise ValueError(f"CheckOptions.{name} is {value}, expected 0 or more: raise it in the check's config")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Verdict on one caption: ``reason`` is None exactly when accepted; form, position and cue are of its negation."""

    accepted: bool
    reason: str | None
    detail: str
    form: str | None
    position: str | None
    cue: str | None


_DEFAULTS: Final = CheckOptions()

_PREAMBLE = re.compile(
    r"^\s*(?:sure\b|certainly\b|of course\b|okay\b[,!]|ok\b[,!]|absolutely\b|here (?:is|are)\b(?=.*(?:caption|:))|here's\b"
    r"|i'm sorry|i am sorry|sorry\b|i can(?:not|'t)\b|i apologi[sz]e|as an ai\b|as a language model"
    r"|(?:the |a |new |updated |rewritten |revised |negated |modified )*(?:caption|answer|output|response|description)s?\s*:"
    r"|(?:assistant|user|system|human)\s*:|note\s*:|yes\b[,.!]|no\b[,.!]\s+there|[-*\u2022#>]\s|\d+[.)]\s|```|[{\[<])",
    re.IGNORECASE,
)
_CHATTER = re.compile(
    r"\b(?:the caption|this caption|updated caption|rewritten caption|original caption|let me know|hope this helps"
    r"|as requested|language model|note that|please provide|the object '|the absence of the object)\b|</?[a-z_|]+>|\(note\b",
    re.IGNORECASE,
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029\ufffd]")
_QUOTES: Final = "\"'\u201c\u201d\u2018\u2019`\u00ab\u00bb"


def check_negated_caption(
    caption: str,
    negated_caption: str,
    absent_object: str | None,
    other_captions: Sequence[str] = (),
    *,
    options: CheckOptions = _DEFAULTS,
) -> CheckResult:
    """Whether ``negated_caption`` is ``caption`` with the absence of ``absent_object`` and no other change.

    ``absent_object=None`` checks the form only: some new negation covers content of the caption, which may then be taken
    back. Never raises, whatever the text.

    >>> check_negated_caption("a man rides a horse", "a man without a hat rides a horse", "hat").accepted
    True
    >>> check_negated_caption("a man rides a horse", "a man in a hat rides a horse, no dog", "hat").reason
    'object_asserted'
    """
    form_problem = _form_problem(caption, negated_caption, options)
    if form_problem is not None:
        return _rejected(*form_problem)
    if absent_object is not None and not _is_noun(absent_object):
        return _rejected("bad_object", f"absent object {absent_object!r} is no noun")
    tokens = tokenise(negated_caption)
    takes_back = options.caption_may_state_object or absent_object is None
    spans = _new_spans(caption, negated_caption)
    if takes_back and not spans:
        # "an empty street" taken back as "a street that is not empty"
        spans = _new_spans(caption, negated_caption, keep_double=True)
    asserted = asserted_segments(negated_caption, tokens, negated_spans(negated_caption))
    if not spans:
        return _rejected("no_negation", "no negation beyond those of the caption")
    if absent_object is None:
        covering = _covering_content(tokens, spans, tokenise(caption))
        if not covering:
            return _rejected("object_not_in_scope", "no negation covers content of the caption", spans[0])
    else:
        covering = [span for span in spans if covers(negated_caption, tokens, span, absent_object, whole=takes_back)]
        stated = not takes_back and any(mentions(segment, absent_object) for segment in asserted)
        if stated:
            return _rejected("object_asserted", f"{absent_object!r} stands outside every negation", spans[0])
        if not covering:
            return _rejected("object_not_in_scope", f"no negation covers {absent_object!r}", spans[0])
    best = covering[0]
    if not takes_back and absent_object is not None:
        problem = _wrong_denial(caption, tokens, spans, absent_object, other_captions, options)
        if problem is not None:
            return _rejected(*problem, best)
    denied = denied_indices(spans)
    dropped = dropped_content(tokenise(caption), tokens, spans if takes_back else ())
    if len(dropped) > options.max_dropped_words:
        return _rejected("content_dropped", "missing: " + ", ".join(token.text for token in dropped), best)
    dangling = dangling_article(tokenise(caption), tokens)
    if dangling is not None and options.max_dropped_words == 0:
        return _rejected("content_dropped", f"{dangling.text!r} has lost its noun", best)
    cues = {j for span in spans for j in range(span.cue_start, span.cue_end)}
    added = new_nouns((caption, *other_captions), tokens, denied | cues)
    if len(added) > options.max_new_nouns:
        return _rejected("new_object_asserted", "new: " + ", ".join(token.text for token in added), best)
    return CheckResult(True, None, "", best.form, best.position, best.cue)


@lru_cache(maxsize=WORDS)
def _is_noun(absent_object: str) -> bool:
    """Whether the object can be looked for at all."""
    try:
        wanted = [token for token in tokenise(absent_object) if token.is_word and token.pos != "DET"]
        return bool(synonyms(absent_object)) and bool(wanted)
    except ValueError:
        return False


def _rejected(reason: str, detail: str, span: NegatedSpan | None = None) -> CheckResult:
    if span is None:
        return CheckResult(False, reason, detail, None, None, None)
    return CheckResult(False, reason, detail, span.form, span.position, span.cue)


def _form_problem(caption: str, negated: str, options: CheckOptions) -> tuple[str, str] | None:
    """Reason and detail when the text cannot be one plain caption, before any grammar."""
    text = negated.strip()
    if not any(character.isalpha() for character in text):
        return "empty", "no letters"
    if "\n" in text or "\r" in text:
        return "not_a_caption", "several lines"
    if _CONTROL.search(text):
        return "not_a_caption", "control characters"
    chatter = _PREAMBLE.search(text) or _CHATTER.search(text)
    if chatter and not caption.lower().lstrip().startswith(chatter.group().lower().strip()):
        return "not_a_caption", f"talk around the caption: {chatter.group()!r}"
    if text[0] in _QUOTES and text[-1] in _QUOTES and caption.strip()[:1] not in _QUOTES and not options.allow_quotes:
        return "not_a_caption", "wrapped in quotes"
    # Bounded before tokenising, so that a runaway answer costs nothing.
    num_words = len(text.split())
    if num_words > options.max_words:
        return "too_long", f"{num_words} words, at most {options.max_words}"
    added = num_words - len(caption.split())
    if added > options.max_added_words:
        return "too_long", f"{added} words more than the caption, at most {options.max_added_words}"
    return None


def _new_spans(caption: str, negated: str, *, keep_double: bool = False) -> list[NegatedSpan]:
    """Negations of the rewritten caption that the caption itself does not have."""
    original = tokenise(caption)
    before = [
        (span.cue, _text_keys(original[span.start : span.end]))
        for span in negated_spans(caption, keep_double=keep_double)
    ]
    tokens = tokenise(negated)
    fresh = []
    for span in negated_spans(negated, keep_double=keep_double):
        mark = (span.cue, _text_keys(tokens[span.start : span.end]))
        if mark in before:
            before.remove(mark)
        else:
            fresh.append(span)
    return fresh


def _text_keys(tokens: Iterable[Token]) -> tuple[str, ...]:
    return tuple(token.lemma for token in tokens if token.is_content)


def _covering_content(
    tokens: Sequence[Token], spans: Iterable[NegatedSpan], original: Sequence[Token]
) -> list[NegatedSpan]:
    """Negations that take back something the caption states."""
    stated = {
        key
        for token in original
        if token.is_word and token.pos not in ("DET", "AUX", "PART")
        for key in match_keys(token.lower)
    }
    return [
        span
        for span in spans
        if any(
            match_keys(token.lower) & stated
            for token in tokens[span.reach_start : span.reach_end]
            if token.pos != "DET"
        )
        or any(match_keys(thing) & stated for thing in span.implied)
    ]


def _wrong_denial(
    caption: str,
    tokens: Sequence[Token],
    spans: Sequence[NegatedSpan],
    absent_object: str,
    other_captions: Sequence[str],
    options: CheckOptions,
) -> tuple[str, str] | None:
    """A denial of something the captions state, or of an object nobody verified as absent."""
    stated = [
        segment
        for known in (caption, *other_captions)
        for segment in asserted_segments(known, tokenise(known), negated_spans(known))
    ]
    object_keys = {key for token in tokenise(absent_object) for key in match_keys(token.lower)}
    if any(mentions(segment, absent_object) for segment in stated):
        return "denies_caption_object", f"the captions state {absent_object!r}"
    extra = []
    for span in spans:
        for j in range(span.start, span.end):
            token = tokens[j]
            is_head = token.pos == "NOUN" and not (j + 1 < span.end and tokens[j + 1].pos == "NOUN")
            if not is_head or span.cue_start <= j < span.cue_end or token.lemma in GENERIC_NOUNS:
                continue
            if match_keys(token.lower) & object_keys or denying_denies(token.lower, absent_object):
                continue
            if any(mentions(segment, token.lower) for segment in stated):
                return "denies_caption_object", f"the captions state {token.text!r}"
            extra.append(token.text)
    if len(extra) > options.max_extra_denied:
        return "other_object_denied", "denied without being the absent object: " + ", ".join(extra)
    return None
