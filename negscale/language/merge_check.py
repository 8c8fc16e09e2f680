"""Check that a merged caption denies what its question asked and says nothing else that is new.

NegationCLIP's P2 (arXiv 2501.10913, section 3.1) trusts its language model. Here a caption is accepted when a new negation's
scope covers the words that the question's "no" denies, the caption keeps its content, the question's subject is in a
caption of the image, and nothing is asserted that is in neither caption nor question. The first failed condition is the
reason. The form of the text is checked by `negscale.language.check`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from negscale.language.check import CheckOptions, CheckResult, check_negated_caption
from negscale.language.content import GENERIC_NOUNS, dangling_article, dropped_content, match_keys, new_nouns
from negscale.language.merge import same_kind
from negscale.language.nouns import mentions
from negscale.language.questions import Question, QuestionError, parse_question
from negscale.language.scope import NegatedSpan, negated_spans
from negscale.language.tokens import Token, possible_pos, tokenise, word_set

REASONS: Final = (
    "empty",
    "not_a_caption",
    "too_long",
    "no_negation",
    "question_not_in_scope",
    "denied_content_asserted",
    "denies_caption_content",
    "subject_not_in_captions",
    "subject_missing",
    "other_content_denied",
    "content_dropped",
    "new_content_asserted",
)
_FORM: Final = frozenset({"empty", "not_a_caption", "too_long", "no_negation"})
# Words that only frame a statement: "there are no", "this picture shows", "nowhere to be seen".
_FRAME: Final = GENERIC_NOUNS | word_set(
    "visible present seen see show shown feature featured contain pictured depicted found nearby around anywhere here there sight",
    "include appear exist lack devoid free absent missing one ones no not any at all find spot spotted presence"
)  # fmt: skip
_TIES: Final = frozenset({"hold", "carry", "wear"})
_PRONOUNS: Final = frozenset({"it", "them", "him", "her", "there"})
_CHECKED_POS: Final = frozenset({"VERB", "ADJ", "NUM"})
_WORD = re.compile(r"\w")


@dataclass(frozen=True, slots=True)
class MergeCheckOptions:
    """Thresholds; ``max_dropped_words`` counts content words of the caption that may go."""

    max_words: int = 60
    max_added_words: int = 20
    max_dropped_words: int = 0
    subject_must_be_captioned: bool = True

    def __post_init__(self) -> None:
        for name in ("max_words", "max_added_words", "max_dropped_words"):
            value = getattr(self, name)
            if value < 0:
                raise ValueError(
                    f"MergeCheckOptions.{name} is {value}, expected 0 or more: raise it in the check's config"
                )


_DEFAULTS: Final = MergeCheckOptions()


def check_merged_caption(
    caption: str,
    negated_caption: str,
    question: str,
    image_captions: Sequence[str] = (),
    *,
    options: MergeCheckOptions = _DEFAULTS,
) -> CheckResult:
    """Whether ``negated_caption`` is ``caption`` with the content of ``question`` denied and no other change.

    ``image_captions``: every caption of the image. Questions outside of the grammar are checked by their content words.

    >>> check_merged_caption(
    ...     "a man rides a horse", "a man not wearing a hat rides a horse", "Is the man wearing a hat?"
    ... ).accepted
    True
    >>> check_merged_caption(
    ...     "a man rides a horse", "a man with no dog rides a horse", "Is the man wearing a hat?"
    ... ).reason
    'question_not_in_scope'
    """
    form = CheckOptions(max_words=options.max_words, max_added_words=options.max_added_words)
    formal = check_negated_caption(caption, negated_caption, None, options=form)
    if formal.reason in _FORM:
        return formal
    asked = _asked(question)
    tokens = tokenise(negated_caption)
    spans = _new_spans(caption, negated_caption)
    covering = [span for span in spans if _covers(tokens, span, asked)]
    if not covering:
        return _rejected("question_not_in_scope", f"no new negation covers {list(asked.denied)}", spans[:1])
    problem = (
        _contradiction(negated_caption, caption, asked, image_captions, options)
        or _other_denial(caption, tokens, spans, asked, question)
        or _lost(caption, tokens, options)
        or _news(caption, tokens, spans, asked, question)
    )
    if problem is not None:
        return _rejected(*problem, covering)
    best = covering[0]
    return CheckResult(True, None, "", best.form, best.position, best.cue)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What the check needs of a question: the denied words, the subject and its noun, the thing asked to exist."""

    denied: tuple[str, ...]
    subject: str
    head: str
    thing: str


def _asked(question: str) -> _Asked:
    try:
        found: Question = parse_question(question)
    except QuestionError:
        # outside of the grammar: the last content word is the point of an English question
        words = [token.lower for token in tokenise(question) if token.is_content]
        return _Asked(tuple(words[-1:]), question, "", "")
    head = "" if found.is_pronoun else found.head
    return _Asked(found.denied, found.subject, head, found.predicate if found.is_bare else "")


def _rejected(reason: str, detail: str, spans: Sequence[NegatedSpan]) -> CheckResult:
    if not spans:
        return CheckResult(False, reason, detail, None, None, None)
    return CheckResult(False, reason, detail, spans[0].form, spans[0].position, spans[0].cue)


def _new_spans(caption: str, negated: str) -> list[NegatedSpan]:
    """Negations of the merged caption that the caption itself does not have."""

    def mark(tokens: Sequence[Token], span: NegatedSpan) -> tuple[str, tuple[str, ...]]:
        return span.cue, tuple(token.lemma for token in tokens[span.start : span.end] if token.is_content)

    original, merged = tokenise(caption), tokenise(negated)
    before = [mark(original, span) for span in negated_spans(caption)]
    fresh = []
    for span in negated_spans(negated):
        if (found := mark(merged, span)) in before:
            before.remove(found)
        else:
            fresh.append(span)
    return fresh


def _keys(tokens: Iterable[Token]) -> set[str]:
    return {key for token in tokens if token.is_word for key in match_keys(token.lower)}


def _reach(span: NegatedSpan) -> range:
    return range(min(span.start, span.reach_start), max(span.end, span.reach_end))


def _covers(tokens: Sequence[Token], span: NegatedSpan, asked: _Asked) -> bool:
    """Whether the negation reaches every denied word, by name or, for a thing, by synonym ("no couch", "no sofa")."""
    inside = [tokens[j] for j in _reach(span)]
    present = _keys(inside)
    missing = [word for word in asked.denied if not match_keys(word) & present]
    missing = [word for word in missing if not any(mentions(word, thing) for thing in span.implied)]
    nouns = [token.lower for token in inside if token.pos == "NOUN"]
    missing = [word for word in missing if not any(same_kind(word, noun) for noun in nouns)]
    if missing and len(missing) < len(asked.denied) and any(token.lower in _PRONOUNS for token in inside):
        # "next to a horse but not riding it", "a boat with no people in it"
        elsewhere = _keys(token for j, token in enumerate(tokens) if j not in _reach(span) and token.pos == "NOUN")
        missing = [word for word in missing if not match_keys(word) & elsewhere]
    return not missing


def _asserted(text: str) -> list[str]:
    """Stretches of ``text`` that no negation reaches."""
    tokens = tokenise(text)
    hidden = {j for span in negated_spans(text) for j in (*_reach(span), *range(span.cue_start, span.cue_end))}
    stretches, start = [], None
    for j in range(len(tokens) + 1):
        if j == len(tokens) or j in hidden:
            if start is not None:
                stretches.append(text[tokens[start].start : tokens[j - 1].end])
            start = None
        elif start is None:
            start = j
    return stretches


def _states(stretch: str, asked: _Asked) -> bool:
    """Whether a stretch of text affirms the question: the thing, or the subject together with every denied word.

    A predicate of several words has to follow its subject: "the clock to the right of the cat" does not affirm "is the
    cat to the right of the clock". One word may stand before it ("a black dog").
    """
    if asked.thing:
        return mentions(stretch, asked.thing)
    tokens = tokenise(stretch)
    if asked.head:
        at = next((j for j, token in enumerate(tokens) if _is_named(token, asked.head)), None)
        if at is None:
            return _names(stretch, asked.head) and _has_all(tokens, asked.denied)
        tokens = tokens[at + 1 :] if len(asked.denied) > 1 else tokens
    return _has_all(tokens, asked.denied)


def _has_all(tokens: Sequence[Token], words: Iterable[str]) -> bool:
    present = _keys(tokens)
    return all(match_keys(word) & present for word in words)


def _is_named(token: Token, head: str) -> bool:
    return token.pos == "NOUN" and (bool(match_keys(head) & match_keys(token.lower)) or same_kind(token.lower, head))


def _names(text: str, head: str) -> bool:
    """Whether the text names the subject, by its noun, a synonym, or a narrower or broader one."""
    tokens = tokenise(text)
    return bool(match_keys(head) & _keys(tokens)) or mentions(text, head) or any(_is_named(t, head) for t in tokens)


def _contradiction(
    negated: str, caption: str, asked: _Asked, image_captions: Sequence[str], options: MergeCheckOptions
) -> tuple[str, str] | None:
    if any(_states(stretch, asked) for known in (caption, *image_captions) for stretch in _asserted(known)):
        return "denies_caption_content", f"a caption of the image affirms {list(asked.denied)}"
    if any(_states(stretch, asked) for stretch in _asserted(negated)):
        return "denied_content_asserted", f"{list(asked.denied)} stands outside every negation"
    if asked.head:
        known = (caption, *image_captions)
        if options.subject_must_be_captioned and not any(_names(text, asked.head) for text in known):
            return "subject_not_in_captions", f"no caption of the image has {asked.head!r}"
        if not _names(negated, asked.head):
            return "subject_missing", f"the merged caption does not name {asked.head!r}"
    return None


def _other_denial(
    caption: str, tokens: Sequence[Token], spans: Sequence[NegatedSpan], asked: _Asked, question: str
) -> tuple[str, str] | None:
    """Something denied that the question did not ask about."""
    words = tokenise(question)
    keys = _keys(words)
    stated = _keys(token for token in tokenise(caption) if "VERB" in possible_pos(token.lower))
    nouns = [token.lower for token in words if token.pos == "NOUN"]
    point = {key for word in asked.denied for key in match_keys(word)}
    for span in spans:
        inside = range(span.start, span.end)
        last = max((j for j in inside if match_keys(tokens[j].lower) & point), default=span.end)
        for j in inside:
            token = tokens[j]
            if j > last and token.pos == "CONJ":
                last = span.end  # "no hat or horse" denies both
            if j > last and match_keys(token.lower) & stated:
                break  # "a bus that is not red [drives]": the caption's own verb, whatever the scope rules say
            if not token.is_content or _frames(token, asked) or span.cue_start <= j < span.cue_end:
                continue
            if match_keys(token.lower) & keys or any(same_kind(token.lower, noun) for noun in nouns):
                continue
            return "other_content_denied", f"{token.text!r} is denied, and the question does not ask about it"
    return None


def _frames(token: Token, asked: _Asked) -> bool:
    """Whether a word only frames the denial; "not holding a cup" says of a thing no more than that it is not there."""
    if asked.thing and token.lemma in _TIES:
        return True
    return token.lemma in _FRAME or token.lower in _FRAME


def _lost(caption: str, tokens: Sequence[Token], options: MergeCheckOptions) -> tuple[str, str] | None:
    original = tokenise(caption)
    dropped = dropped_content(original, tokens)
    if len(dropped) > options.max_dropped_words:
        return "content_dropped", "missing: " + ", ".join(token.text for token in dropped)
    dangling = dangling_article(original, tokens)
    if dangling is not None and options.max_dropped_words == 0:
        return "content_dropped", f"{dangling.text!r} has lost its noun"
    return None


def _news(
    caption: str, tokens: Sequence[Token], spans: Sequence[NegatedSpan], asked: _Asked, question: str
) -> tuple[str, str] | None:
    """Content that is in neither caption nor question; outside of the negation, the question gives its subject only."""
    cues = {j for span in spans for j in range(span.cue_start, span.cue_end)}
    reach = {j for span in spans for j in _reach(span)} | cues
    added = new_nouns((caption, question), tokens, frozenset(cues))
    outside = (caption, asked.subject) if _WORD.search(asked.subject) else (caption,)
    added += new_nouns(outside, tokens, frozenset(reach))
    known = _keys(tokenise(caption)) | _keys(tokenise(question))
    for j, token in enumerate(tokens):
        if token.pos in _CHECKED_POS and token.is_content and j not in cues and not match_keys(token.lower) & known:
            added.append(token)
    added = [token for token in added if not _frames(token, asked)]
    if added:
        return "new_content_asserted", "new: " + ", ".join(token.text for token in added)
    return None
