"""Which content of a caption a rewriting dropped and which nouns it added, up to inflection, derivation and spelling.

Not from a paper. Words are compared by every lemma they may have and by a light stem ("snowy" and "snow", "wooden" and
"wood"); a misspelled word of the caption may come back corrected, two words may come back as one.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from negscale.language.caches import WORDS
from negscale.language.nouns import mentions, synonyms
from negscale.language.scope import NegatedSpan
from negscale.language.tokens import (
    AUXILIARIES,
    CONJUNCTIONS,
    INDEFINITES,
    NUMBERS,
    PREPOSITIONS,
    PRONOUNS,
    Token,
    lemma_keys,
    lemma_of,
    lexicon_lemmas,
    possible_pos,
    tokenise,
    word_set,
)

# Nouns that name the picture, a place in it or an amount: neither new objects nor objects that can be denied.
GENERIC_NOUNS: Final = word_set(
    "image picture photo photograph scene frame view shot sight background foreground presence absence sign trace evidence ",
    "kind sort type piece pair bit amount number lot group set distance side front back top bottom middle center area ",
    "place part color colour one other way hand thing item object anything something",
)
_VARIANTS: Final = {"grey": "gray", "colour": "color", "tyre": "tire", "theatre": "theater", "centre": "center"}
_MEASURES: Final = word_set(
    "kind sort type lot piece slice pair bunch group number couple bit amount variety plenty ton row set bottle thing hundred dozen"
)
_NEGATED_INDEFINITES: Final = word_set("anything anyone anybody nothing nobody none any one thing")
_CLAUSE_OPENERS: Final = frozenset({"but", "with", "and", "while", ",", "yet"})
# Closed-class words that are nouns after an article: "the can", "the inside".
_NOUNS_TOO: Final = frozenset({"can", "will", "might", "must", "inside", "outside", "past", "opposite"})
_ARTICLES: Final = frozenset({"a", "an", "the", "his", "their", "its", "my"})
_COVERINGS: Final = word_set("fill cover top line surround load pack stock pave")
_SUFFIXES: Final = ("ness", "less", "ful", "ing", "ers", "er", "ed", "en", "ly", "y", "age", "ion", "ment")
_MIN_STEM = 3
_MIN_SPELLING = 4


@lru_cache(maxsize=WORDS)
def match_keys(word: str) -> frozenset[str]:
    """Keys under which a lower-case ``word`` is the same word: its lemmas and their stems."""
    word = _VARIANTS.get(word, word)
    keys = set(lemma_keys(word))
    if "-" in word:
        keys.add(word.replace("-", ""))
    keys.update(f"~{stem}" for key in tuple(keys) if len(key) >= _MIN_STEM for stem in _stems(key))
    return frozenset(keys)


def _stems(lemma: str) -> set[str]:
    """What may be left of ``lemma`` without a derivational ending, in one spelling ("shady", "shade": "shad")."""
    bare = {lemma}
    bare.update(
        lemma[: -len(suffix)]
        for suffix in _SUFFIXES
        if lemma.endswith(suffix) and len(lemma) - len(suffix) >= _MIN_STEM
    )
    return {_one_spelling(stem) for stem in bare}


def _one_spelling(stem: str) -> str:
    if stem[-1] in "eiy" and len(stem) > _MIN_STEM:
        stem = stem[:-1]
    if len(stem) > _MIN_STEM and stem[-1] == stem[-2] and stem[-1] not in "aeiou":
        stem = stem[:-1]
    return stem


def _spelled_alike(left: str, right: str) -> bool:
    """Whether two words are one edit apart (insertion, deletion, substitution, swap of neighbours), first letter kept."""
    if min(len(left), len(right)) < _MIN_STEM or max(len(left), len(right)) < _MIN_SPELLING:
        return False
    return left[0] == right[0] and _one_edit(left, right)


def _one_edit(left: str, right: str) -> bool:
    if abs(len(left) - len(right)) > 1:
        return False
    k = 0
    while k < min(len(left), len(right)) and left[k] == right[k]:
        k += 1
    a, b = left[k:], right[k:]
    return a[1:] == b or a == b[1:] or a[1:] == b[1:] or (a[:2] == b[1::-1] and len(b) > 1 and a[2:] == b[2:])


@lru_cache(maxsize=WORDS)
def _is_synonym(noun: str, other: str) -> bool:
    return lemma_of(other, "NOUN") in synonyms(noun)


@lru_cache(maxsize=WORDS)
def _is_misspelled_function_word(word: str) -> bool:
    """Whether ``word`` is in no lexicon and one edit away from a function word ("fro", "nad")."""
    if lexicon_lemmas(word) or word in NUMBERS or len(word) < _MIN_STEM or not word.isalpha():
        return False
    return any(
        _one_edit(word, other) and len(other) >= _MIN_STEM
        for other in PREPOSITIONS | CONJUNCTIONS | PRONOUNS | AUXILIARIES
    )


def _keys_of(tokens: Iterable[Token]) -> set[str]:
    return {key for token in tokens if token.is_word for key in match_keys(token.lower)}


def _joined(tokens: Sequence[Token]) -> set[str]:
    """Neighbouring words written as one."""
    words = [token.lower for token in tokens]
    return {first + second for first, second in itertools.pairwise(words)}


def _split_keys(tokens: Sequence[Token]) -> set[str]:
    """Keys of the parts of hyphenated words."""
    return {
        key for token in tokens if "-" in token.lower for part in token.lower.split("-") for key in match_keys(part)
    }


def dropped_content(
    original: Sequence[Token], rewritten: Sequence[Token], spans: Sequence[NegatedSpan] = ()
) -> list[Token]:
    """Content words of ``original`` that ``rewritten`` lacks.

    ``spans``: negations of ``rewritten`` that may take back what ``original`` states; a word that only tied a denied
    noun to the rest of the caption ("holding" in "holding a bat", "without a bat") is then no loss.
    """
    present = _keys_of(rewritten) | _joined(rewritten) | _split_keys(rewritten)
    missing = [j for j, token in enumerate(original) if token.is_content and not match_keys(token.lower) & present]
    if not missing:
        return []
    known = _keys_of(original)
    novel = [token.lower for token in rewritten if token.is_word and not match_keys(token.lower) & known]
    joined = _joined(original)
    missing = [
        j
        for j in missing
        if not _is_misspelled_function_word(original[j].lower)
        and not any(_spelled_alike(original[j].lower, word) for word in novel)
        and not any(word in joined and original[j].lower in word for word in novel)
        and not (original[j].pos == "NOUN" and any(_is_synonym(original[j].lower, word) for word in novel))
    ]
    if missing and spans:
        if any(token.lower in _NEGATED_INDEFINITES for token in rewritten):
            missing = [j for j in missing if original[j].lower not in INDEFINITES]
        if any(token.lower in INDEFINITES for token in rewritten):
            missing = [j for j in missing if original[j].lemma != "thing"]
        replaced = _replaced(original, rewritten, spans)
        missing = [j for j in missing if j not in replaced]
    return [original[j] for j in missing]


def dangling_article(original: Sequence[Token], rewritten: Sequence[Token]) -> Token | None:
    """An article whose noun is gone ("a of sheep", "on the"), unless ``original`` is as careless."""
    careless = {(first.lower, second.lower) for first, second in itertools.pairwise(original)}
    for j, token in enumerate(rewritten):
        if token.lower not in _ARTICLES:
            continue
        if j + 1 == len(rewritten):
            return token if not (original and original[-1].lower == token.lower) else None
        after = rewritten[j + 1]
        if (
            after.pos in ("PREP", "AUX", "CONJ")
            and (token.lower, after.lower) not in careless
            and after.lower not in _NOUNS_TOO
        ):
            return token
    return None


def _replaced(original: Sequence[Token], rewritten: Sequence[Token], spans: Sequence[NegatedSpan]) -> set[int]:
    """Indices of words of ``original`` that may go with the nouns that ``spans`` take back."""
    denied = {j for span in spans for j in range(span.start, span.end)}
    stated = _keys_of(token for j, token in enumerate(rewritten) if j not in denied)
    before = Counter(token.lower for token in original)
    after = Counter(token.lower for j, token in enumerate(rewritten) if not _belongs_to_cue(j, rewritten, spans))
    gone = frozenset(word for word, count in before.items() if after[word] < count)
    spots: set[int] = set()
    for span in spans:
        heads = {
            key
            for j in range(span.start, span.end)
            if rewritten[j].pos == "NOUN" and not (j + 1 < span.end and rewritten[j + 1].pos == "NOUN")
            for key in match_keys(rewritten[j].lower)
        }
        for j, token in enumerate(original):
            keys = match_keys(token.lower)
            if token.pos != "NOUN" or not keys & heads:
                continue
            spots |= _phrase_after(original, j, _keys_of(rewritten), gone, whole=not keys & heads & stated)
            # What is still stated elsewhere keeps its ties: "riding a horse but the horse is missing".
            if not keys & heads & stated:
                spots |= _predicate_after(original, j, span, gone)
                spots |= _amounts_before(original, j, rewritten, span, gone)
                spots |= _governor_before(original, j, gone, _takes_no_verb(rewritten, span))
    return spots


def _belongs_to_cue(j: int, rewritten: Sequence[Token], spans: Sequence[NegatedSpan]) -> bool:
    """Whether token ``j`` came with a cue: "is" of "is missing", "with" of "with no"."""
    return any(
        j == span.cue_start - 1 and (rewritten[j].pos == "AUX" or rewritten[j].lower == "with") for span in spans
    )


def _takes_no_verb(rewritten: Sequence[Token], span: NegatedSpan) -> bool:
    """Whether the cue stands where a verb cannot have been: "but no bat", not "swings no bat" and not "not a bat"."""
    if span.end <= span.cue_start:
        return _was_moved(rewritten, span)
    if span.form in ("not", "never", "none"):
        return span.start < span.end and rewritten[span.start].pos in ("AUX", "VERB")
    if span.form == "no":
        return span.cue_start > 0 and rewritten[span.cue_start - 1].pos in ("CONJ", "PREP", "AUX", "PUNCT")
    return True


def _was_moved(rewritten: Sequence[Token], span: NegatedSpan) -> bool:
    """Whether a denied subject stands in a clause of its own ("but the hat is missing"), not where the caption had it."""
    return span.start > 0 and rewritten[span.start - 1].lower in _CLAUSE_OPENERS


def _phrase_after(
    original: Sequence[Token], head: int, present: set[str], gone: frozenset[str], *, whole: bool
) -> set[int]:
    """Indices of a phrase after the denied noun that left as a whole, prepositions included: "fog [over the lake]".

    ``whole``: the rest of a list may go too ("with rice[, beans, and corn]" to "without any rice"). A lone word
    dropped from such a phrase leaves its preposition or conjunction behind, so that is still a loss.
    """
    j = head + 1
    starts = ("PREP", "VERB", "CONJ", "PUNCT") if whole else ("PREP", "VERB")
    if j >= len(original) or original[j].pos not in starts:
        return set()
    run: set[int] = set()
    links = 0
    while j < len(original) and original[j].pos != "AUX":
        token = original[j]
        if token.pos in ("CONJ", "PUNCT") and not (whole and token.lower in ("and", "or", ",")):
            break
        if token.pos in ("PREP", "CONJ", "PUNCT"):
            if token.lower not in gone:
                break
            links += 1
        elif token.is_content:
            if match_keys(token.lower) & present:
                return set()
            run.add(j)
        j += 1
    return run if links else set()


def _predicate_after(original: Sequence[Token], head: int, span: NegatedSpan, gone: frozenset[str]) -> set[int]:
    """Index of what was said of the denied noun: "smoke [coming] out" to "smoke is absent", "a cloud [filled] sky"."""
    to_the_left = span.end <= span.cue_start
    j = head + 1
    while j < len(original) and original[j].pos in ("PART", "PUNCT") and original[j].lower not in _CLAUSE_OPENERS:
        j += 1
    if j < len(original) and original[j].pos in ("VERB", "ADJ") and (to_the_left or original[j].lemma in _COVERINGS):
        return {j}
    # "while another man [watches]" to "without another man": the clause left with its conjunction
    own_clause = _conjunction_before(original, head) in gone
    while (to_the_left or own_clause) and j < len(original) and original[j].pos in ("AUX", "PRON"):
        j += 1
    return {j} if (to_the_left or own_clause) and j < len(original) and original[j].pos == "VERB" else set()


def _conjunction_before(original: Sequence[Token], head: int) -> str:
    k = head - 1
    while k >= 0 and original[k].pos in ("DET", "ADJ", "NUM", "NOUN", "PART"):
        k -= 1
    return original[k].lower if k >= 0 and original[k].lower in ("while", "as", "whilst", "when") else ""


def _amounts_before(
    original: Sequence[Token], head: int, rewritten: Sequence[Token], span: NegatedSpan, gone: frozenset[str]
) -> set[int]:
    """Indices of the denied noun's numbers and measures and, before "is missing" or in "a missing hat", its adjectives."""
    attributive = span.cue_start > 0 and rewritten[span.cue_start - 1].pos == "DET"
    loses_adjectives = attributive or (span.end <= span.cue_start and _was_moved(rewritten, span))
    loses_numbers = loses_adjectives or (span.start >= span.cue_end and span.form in ("no", "without", "lexical"))
    spots: set[int] = set()
    k = head - 1
    while k >= 0 and (original[k].pos in ("DET", "ADJ", "NUM", "NOUN", "PART", "ADV") or original[k].lower == "of"):
        token = original[k]
        if (
            (token.pos == "NUM" and loses_numbers)
            or (token.pos == "ADJ" and loses_adjectives)
            or ((token.lemma in _MEASURES or token.lower == "full") and "of" in gone)
        ):
            spots.add(k)
        k -= 1
    return spots


def _governor_before(original: Sequence[Token], head: int, gone: frozenset[str], takes_no_verb: bool) -> set[int]:
    """Index of the verb that tied the denied noun to the caption: "[holding] a bat" to "without a bat"."""
    k = head - 1
    while k >= 0 and (original[k].pos in ("DET", "ADJ", "NUM", "NOUN", "PART", "ADV") or original[k].lower == "of"):
        k -= 1
    links = []
    while k >= 0 and original[k].pos == "PREP":
        links.append(original[k].lower)
        k -= 1
    if k < 1 or original[k].pos != "VERB" or not takes_no_verb or not gone.issuperset(links):
        return set()
    subject = original[k - 1]
    if subject.pos in ("CONJ", "AUX") and subject.lower not in gone:
        return set()
    if subject.pos not in ("NOUN", "PUNCT", "PRON", "ADV", "PREP", "CONJ", "AUX"):
        return set()
    spots = {k}
    # "getting ready to ride", "trying to catch"
    while k >= 2 and original[k - 1].lower == "to" and original[k - 2].pos in ("VERB", "ADJ", "ADV"):
        k -= 2
        spots.add(k)
        if k >= 1 and original[k - 1].lemma == "get":
            k -= 1
            spots.add(k)
    return spots


def new_nouns(known_texts: Sequence[str], rewritten: Sequence[Token], denied: frozenset[int]) -> list[Token]:
    """Nouns that ``rewritten`` states outside the ``denied`` indices and that no known caption states.

    A synonym or a broader term ("animal" for a dog) is not new.
    """
    known = [tokenise(text) for text in known_texts]
    keys: set[str] = set()
    joined: set[str] = set()
    for tokens in known:
        keys |= _keys_of(tokens) | _split_keys(tokens)
        joined |= _joined(tokens)
    present = _keys_of(rewritten)
    added = []
    for j, token in enumerate(rewritten):
        if token.pos != "NOUN" or j in denied or not token.is_content or token.lemma in GENERIC_NOUNS:
            continue
        if match_keys(token.lower) & keys or token.lower in joined or len(token.lower) < 2:
            continue
        if any(mentions(text, token.lower) for text in known_texts):
            continue
        if "NOUN" not in possible_pos(token.lower):
            continue
        lost = (word for tokens in known for word in tokens if word.is_word and not match_keys(word.lower) & present)
        if not any(_spelled_alike(token.lower, word.lower) for word in lost):
            added.append(token)
    return added
