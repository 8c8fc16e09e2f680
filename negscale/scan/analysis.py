"""The negations of one caption, by name: explicit words, implicit ones, look-alikes and double negations.

NegationCLIP (arXiv 2501.10913) reports that 0.704 % of LAION-400M's captions and 0.08 % of its words are negations, without
its word list. What differs here: "no. 7", "no parking sign" and "not only" are told apart from negations, "not without" counts
as none, and words that negate without a negation word ("empty of", "leafless") are counted apart.

`analyse` answers from the words alone where these decide, and asks `negscale.language` with its parts of speech for the
rest; `analyse_slowly` always asks, and must say the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from negscale.language.cues import CUES, PSEUDO_CUES, Cue, match_cue, pseudo_cue_length
from negscale.language.scope import CANCELLABLE, EXCEPTIONS, negated_spans
from negscale.language.tokens import lower_words, tokenise

Group = Literal["explicit", "implicit"]

# The words that the literature counts (the ten that surveys of caption collections name).
WORD_LIST: Final = frozenset({
    "no", "not", "n't", "without", "never", "none", "nobody", "nothing", "neither", "nor",
})  # fmt: skip
# First words of the cues that negate openly; every other cue of the project is implicit.
EXPLICIT: Final = WORD_LIST | {"nowhere", "noone", "no-one", "w"}


@dataclass(frozen=True, slots=True)
class Hit:
    """One negation: the name under which it is counted, and its group."""

    name: str
    group: Group


@dataclass(frozen=True, slots=True)
class Analysis:
    """What one caption says: negations, look-alikes, and how many cues a double negation cancels.

    ``listed`` holds the words of `WORD_LIST`, whatever they mean.
    """

    hits: tuple[Hit, ...] = ()
    look_alikes: tuple[str, ...] = ()
    cancelled: int = 0
    listed: tuple[str, ...] = ()


def hit_of(cue: Cue) -> Hit:
    """The name and group of a cue: "n't any" counts as "n't", "leafless" as "-less", "devoid of" as itself."""
    first = cue.words[0]
    if cue.form == "affix":
        return Hit("-less" if first.endswith("less") else "-free" if first.endswith("-free") else "un-", "implicit")
    if first not in EXPLICIT:
        return Hit(cue.text, "implicit")
    if cue.words == ("no", "one") or first in ("noone", "no-one"):
        return Hit("no one", "explicit")
    return Hit("w/o" if first == "w" else first, "explicit")


def analyse_slowly(caption: str) -> Analysis:
    """The negations of `caption` by the language package alone: about 0.1 ms a caption."""
    tokens = tokenise(caption)
    once = {span.cue_start for span in negated_spans(caption)}
    both = {span.cue_start for span in negated_spans(caption, keep_double=True)}
    hits, look_alikes, cancelled, at = [], [], 0, 0
    while at < len(tokens):
        if skip := pseudo_cue_length(tokens, at):
            look_alikes.append(_shown([token.lower for token in tokens[at : at + skip]]))
            at += skip
            continue
        if (cue := match_cue(tokens, at)) is None:
            at += 1
            continue
        # "nor" has no span of its own where "neither" covers it; "except" after a negation opens none at all
        if at in once or cue.words == ("nor",):
            hits.append(hit_of(cue))
        elif at in both:
            cancelled += 1
        at += len(cue.words)
    listed = tuple(token.lower for token in tokens if token.lower in WORD_LIST)
    return Analysis(tuple(hits), tuple(look_alikes), cancelled, listed)


_Phrases = tuple[tuple[tuple[str, ...], Hit], ...]


def _by_second(first: str) -> dict[str, _Phrases]:
    """Cues that begin with `first` by their second word, the longest first; "" holds the cue of one word."""
    found: dict[str, list[tuple[tuple[str, ...], Hit]]] = {}
    for cue in sorted((cue for cue in CUES if cue.words[0] == first), key=lambda cue: -len(cue.words)):
        found.setdefault("".join(cue.words[1:2]), []).append((cue.words, hit_of(cue)))
    return {second: tuple(phrases) for second, phrases in found.items()}


_BY_FIRST: Final = {first: _by_second(first) for first in {cue.words[0] for cue in CUES}}
_OPEN_PHRASES: Final = tuple(phrase for phrase in PSEUDO_CUES if "*" in phrase or "#" in phrase)
_PSEUDO: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    first: tuple(phrase for phrase in PSEUDO_CUES if phrase[0] == first)
    for first in {phrase[0] for phrase in PSEUDO_CUES}
}
_SIGNS: Final = frozenset(phrase[-1] for phrase in _OPEN_PHRASES if "*" in phrase)  # sign, zone, area, ...
_BEFORE_NUMBERS: Final = frozenset(phrase[0] for phrase in _OPEN_PHRASES if "#" in phrase)


def analyse(caption: str) -> Analysis:
    """The negations of `caption`; equal to `analyse_slowly`, and some ten times faster on most captions."""
    words = lower_words(caption)
    hits: list[Hit] = []
    look_alikes: list[str] = []
    done = 0
    for at, word in enumerate(words):
        if not _opens(word) or at < done:
            continue
        if word in _PSEUDO and (skip := _look_alike(words, at)):
            if skip < 0:
                return analyse_slowly(caption)
            look_alikes.append(_shown(words[at : at + skip]))
            done = at + skip
            continue
        hit, length = _cue_at(words, at)
        if hit is None:
            continue
        # cancelled by the cue before, or an exception from it: that takes parts of speech
        if hits and _may_depend(words[at : at + length], hits[-1]):
            return analyse_slowly(caption)
        hits.append(hit)
        done = at + length
    return Analysis(tuple(hits), tuple(look_alikes), 0, tuple([word for word in words if word in WORD_LIST]))


def listed_words(caption: str) -> tuple[str, ...]:
    """The words of `WORD_LIST` in `caption`, in order, with repeats: what the literature counts."""
    return tuple([word for word in lower_words(caption) if word in WORD_LIST])


def first_finding(words: Sequence[str]) -> tuple[Group | Literal["look-alike"], str] | Literal["unclear"] | None:
    """(group, name) of what begins with the first of `words`; "unclear" where only the language package can tell."""
    if words[0] in _PSEUDO and (skip := _look_alike(words, 0)):
        return "unclear" if skip < 0 else ("look-alike", _shown(words[:skip]))
    hit, _ = _cue_at(words, 0)
    return None if hit is None else (hit.group, hit.name)


def _may_depend(cue: Sequence[str], before: Hit) -> bool:
    return cue[0] in EXCEPTIONS or (before.group == "explicit" and not CANCELLABLE.isdisjoint(cue))


@lru_cache(maxsize=1 << 15)
def _opens(word: str) -> bool:
    """Whether a cue or a look-alike may begin with `word`."""
    return word in _PSEUDO or word in _BY_FIRST or affix_hit(word) is not None


def _cue_at(words: Sequence[str], at: int) -> tuple[Hit | None, int]:
    """The longest cue at `at` and its number of words."""
    if phrases := _BY_FIRST.get(words[at]):
        if at + 1 < len(words):
            for phrase, hit in phrases.get(words[at + 1], ()):
                if phrase == tuple(words[at : at + len(phrase)]):
                    return hit, len(phrase)
        for _, hit in phrases.get("", ()):
            return hit, 1
    return affix_hit(words[at]), 1


def _look_alike(words: Sequence[str], at: int) -> int:
    """Number of words of the look-alike at `at`; 0 for none, -1 where only the language package can tell."""
    if words[at] in _BEFORE_NUMBERS:
        after = next((word for word in words[at + 1 : at + 3] if word != "."), "")
        if after[:1].isdigit():
            return -1
    for phrase in _PSEUDO[words[at]]:
        if "*" in phrase:
            if not _SIGNS.isdisjoint(words[at + 2 : at + 8]):
                return -1
        elif "#" not in phrase and tuple(words[at : at + len(phrase)]) == phrase:
            return len(phrase)
    return 0


@lru_cache(maxsize=1 << 14)
def affix_hit(word: str) -> Hit | None:
    """The cue that a word is by its beginning or end ("leafless", "unpaved", "dust-free")."""
    if len(word) < 6 or not (word.startswith("un") or word.endswith(("less", "-free"))):
        return None
    tokens = tokenise(word)
    cue = match_cue(tokens, 0) if len(tokens) == 1 else None
    return hit_of(cue) if cue is not None else None


def _shown(words: Sequence[str]) -> str:
    return " ".join("#" if word[0].isdigit() else word for word in words).replace(" n't", "n't").replace("no .", "no.")
