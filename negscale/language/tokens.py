"""Caption tokeniser: words with character offsets, lemmas and coarse part-of-speech guesses.

Not from a paper: the published pipelines look at captions as strings. The negation check needs to know where words
are, which of them carry content and what their lemma is, at thousands of captions a second on one core, so this is a
lexicon (the one bundled with ``lemminflect``) and context rules, not a statistical parser. The guesses are tuned to
caption English: short noun phrases, present participles, prepositional phrases.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import lemminflect

from negscale.language.caches import SENTENCES, WORDS

Pos = Literal["NOUN", "VERB", "ADJ", "ADV", "NUM", "DET", "PRON", "PREP", "CONJ", "AUX", "PART", "PUNCT"]

CONTENT_POS: Final = frozenset({"NOUN", "VERB", "ADJ", "ADV", "NUM"})


@dataclass(frozen=True, slots=True)
class Token:
    """One token: ``text[start:end]`` of the caption, its lower-case form, lemma and guessed part of speech."""

    text: str
    lower: str
    start: int
    end: int
    lemma: str
    pos: Pos

    @property
    def is_content(self) -> bool:
        """Noun, main verb, adjective, adverb or number, and not a stop word."""
        return self.pos in CONTENT_POS and self.lower not in _STOP_WORDS

    @property
    def is_word(self) -> bool:
        """Anything but punctuation."""
        return self.pos != "PUNCT"


# Words are runs of letters with inner hyphens or apostrophes, numbers keep their separators, the rest is one by one.
_TOKEN = re.compile(r"[^\W\d_]+(?:[-'][^\W\d_]+|-\d+)*|\d+(?:[.,:]\d+)*(?:-?[^\W\d_]+)?|[^\w\s]|_+", re.UNICODE)
# A straight apostrophe for every typographic one, length kept so that offsets stay those of the caption.
_APOSTROPHES = str.maketrans("\u2018\u2019\u02bc\u00b4`", "'''''")
_HYPHENS = str.maketrans("\u2010\u2011", "--")
_WHOLE_CONTRACTIONS = {"cannot": 3, "gonna": 3, "wanna": 3}
_CONTRACTED_TAILS = ("'s", "'re", "'ve", "'ll", "'d", "'m")


def word_set(*lines: str) -> frozenset[str]:
    """Words of ``lines``, split at spaces."""
    return frozenset(" ".join(lines).split())


DETERMINERS: Final = word_set(
    "a an the this these those his her its their our your my some any no every each either neither another",
    "both all half several many much few enough such what whose certain various most more less fewer",
)
PRONOUNS: Final = word_set(
    "i you he she it we they me him us them himself herself itself themselves yourself myself who whom which that",
    "anyone anybody anything none nobody nothing there",
    "hers theirs mine ours yours oneself",
)
PREPOSITIONS: Final = word_set(
    "of in on at by for with from to into onto upon over under above below beneath underneath behind beside besides",
    "between among amongst amid amidst around across along alongside against about after before during near off out",
    "outside inside through throughout toward towards up down past via within without atop beyond like as than per",
    "until since except excluding including despite unlike minus opposite aboard",
)
CONJUNCTIONS: Final = word_set(
    "and or nor but yet so while whilst although though because if unless when where whereas & plus"
)
AUXILIARIES: Final = word_set(
    "is are was were be been being am do does did has have had having can could will would shall should may might must",
    "'s 're 've 'll 'd 'm ca wo ai isn aren wasn weren don doesn didn hasn haven hadn won wouldn couldn shouldn",
)
_PARTICLES = word_set("not n't")
# Pronouns that stand for a thing in the picture, so that losing one is losing content.
INDEFINITES: Final = word_set("someone somebody something everyone everybody everything")
NUMBERS: Final = word_set(
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen",
    "eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand dozen first second third",
)
_ADVERBS = word_set(
    "very too also just only even still again away together apart ahead aside back here nearby now then next quite rather",
    "really almost so completely totally entirely fully anywhere everywhere nowhere somewhere elsewhere outdoors indoors",
    "never not always ever upside forward backwards sideways overhead well instead otherwise altogether alone as",
)
# Verbs of captions whose forms are also nouns or adjectives in the lexicon ("rides", "stand", "left").
_CAPTION_VERBS = word_set(
    "sit stand lie lay ride hold walk look play run eat wear fly jump drive carry lean rest hang watch pose perform sleep",
    "swim move travel pass cross wait work cook prepare hit swing throw catch kick pull push grab reach face show display",
    "feature contain include have make take get go come talk smile stare gaze graze feed drink bite chew climb surf ski",
    "skate skateboard snowboard kneel crouch squat bend attempt try begin use cut slice serve fill cover surround line",
    "park sail float drift land leave enter leap slide grind brush read write type speak point touch open close set put",
    "place keep stop turn follow lead chase herd race compete gather enjoy celebrate visit shop exist appear remain seem",
    "grow bloom shine glow blow burn overlook depict sport adorn decorate attach connect mount stack pile tie wrap let",
    "want need like love give receive offer sell buy pay lack miss perch nap doze dive splash bathe wash clean dry shave",
)
_COLOURS_AND_MATERIALS = word_set(
    "red green blue yellow white black brown grey gray orange pink purple beige tan gold golden silver maroon violet",
    "wooden wood metal plastic glass paper stone brick concrete leather cotton steel iron tile marble ceramic empty",
    "light dark double single open close dry wet clean clear cute fake self round square busy quiet young old",
)
_ALWAYS_ADJECTIVES = word_set(
    "little big small large tall young old visible empty full complete metallic bushy brushy present"
)
_STOP_WORDS: Final = (
    word_set(
        "very too also just only even still so quite rather really as be do have can will one ones other others such lot lots",
        "then now here there ever well yet back away up down off out over around about instead together again first bit",
        "total next near nearby top front side upon along not never",
    )
    | DETERMINERS
    | PRONOUNS
    | PREPOSITIONS
    | CONJUNCTIONS
    | AUXILIARIES
)

_ALWAYS_NOUNS = word_set(
    "man men woman women people person child children boy boys girl girls dog dogs cat cats bench train trains plane",
    "bus buses car cars horse horses bear cow cows building field street water room kitchen bathroom beach table bed",
    "hat hats snow wall board kite kites bat baby pair group herd bunch picture game floor sky trees tree couch hand",
    "skis skier skateboard snowboard racket tennis baseball frisbee surfboard motorcycle bicycle bike boat",
    "dam tin template seating pan pans bar bars log logs lounge top front side edge middle corner home",
    "sheep plate bowl pizza food phone cell laptop computer toilet sink",
)
# Prepositions of several words: their nouns ("top", "front") are not things in the picture.
_LONG_PREPOSITIONS = tuple(
    tuple(phrase.split())
    for phrase in (
        "on top of",
        "on the top of",
        "in front of",
        "in the front of",
        "next to",
        "close to",
        "in back of",
        "on the side of",
        "at the side of",
        "on the edge of",
        "in the middle of",
        "in the center of",
        "at the end of",
        "as well as",
        "along side",
        "out of",
        "inside of",
        "outside of",
        "because of",
    )
)
_PREPOSITIONS_BY_FIRST_WORD = {
    first: tuple(phrase for phrase in _LONG_PREPOSITIONS if phrase[0] == first)
    for first in {phrase[0] for phrase in _LONG_PREPOSITIONS}
}


@lru_cache(maxsize=WORDS)
def lexicon_lemmas(word: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(part of speech, lemmas) pairs that the lexicon knows for a lower-case ``word``; empty when it knows none."""
    if not word.isascii() or not word[:1].isalpha():
        return ()
    known: dict[str, tuple[str, ...]] = lemminflect.getAllLemmas(word)
    if not known and "-" in word:
        known = lemminflect.getAllLemmas(word.rsplit("-", 1)[-1])
        head = word.rsplit("-", 1)[0]
        return tuple((pos, tuple(f"{head}-{lemma}" for lemma in lemmas)) for pos, lemmas in sorted(known.items()))
    return tuple(sorted(known.items()))


@lru_cache(maxsize=WORDS)
def possible_pos(word: str) -> frozenset[str]:
    """Parts of speech a lower-case ``word`` can have; unknown words get a guess from their ending."""
    if word in _ALWAYS_NOUNS:
        return frozenset({"NOUN"})
    known = frozenset(pos for pos, _ in lexicon_lemmas(word) if pos != "AUX")
    if known:
        return known
    if word.endswith("ing"):
        return frozenset({"VERB"})
    if word.endswith("ed") and len(word) > 4:
        return frozenset({"VERB", "ADJ"})
    if word.endswith("ly") and len(word) > 4:
        return frozenset({"ADV"})
    return frozenset({"NOUN"})


@lru_cache(maxsize=WORDS)
def lemma_of(word: str, pos: str) -> str:
    """Lemma of a lower-case ``word`` read as ``pos``; a plain plural ``-s`` is stripped from unknown nouns."""
    wanted = {"PREP": "", "DET": "", "CONJ": "", "PRON": "", "PUNCT": "", "PART": ""}.get(pos, pos)
    known = dict(lexicon_lemmas(word))
    if wanted in known:
        return known[wanted][0]
    if pos == "NOUN" and not known and len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


@lru_cache(maxsize=WORDS)
def lemma_keys(word: str) -> frozenset[str]:
    """Every lemma a lower-case ``word`` may have, with the word itself: equality of words up to inflection."""
    keys = {word}
    for _, lemmas in lexicon_lemmas(word):
        keys.update(lemmas)
    if not lexicon_lemmas(word):
        keys.add(lemma_of(word, "NOUN"))
    return frozenset(keys)


def _tail_length(lower: str) -> int:
    """Letters of the second part of a contracted word ("is|n't", "can|not", "dog|'s"); 0 where it is whole."""
    if lower in _WHOLE_CONTRACTIONS:
        return len(lower) - _WHOLE_CONTRACTIONS[lower]
    if lower.endswith("n't") and len(lower) > 3:
        return 3
    for tail in _CONTRACTED_TAILS:
        if lower.endswith(tail) and len(lower) > len(tail):
            return len(tail)
    return 0


def _pieces(caption: str) -> Iterable[tuple[str, int]]:
    flat = caption.translate(_APOSTROPHES).translate(_HYPHENS)
    for match in _TOKEN.finditer(flat):
        word, at = match.group(), match.start()
        if tail := _tail_length(word.lower()):
            cut = len(word) - tail
            yield word[:cut], at
            yield word[cut:], at + cut
        else:
            yield word, at


def lower_words(caption: str) -> list[str]:
    """Lower-case forms of the tokens of ``caption`` alone: a twentieth of the cost of `tokenise`."""
    if not caption.isascii():
        return [piece.lower() for piece, _ in _pieces(caption)]
    words: list[str] = _TOKEN.findall(caption.lower().replace("`", "'"))
    for at in range(len(words) - 1, -1, -1):
        word = words[at]
        if ("'" in word or word in _WHOLE_CONTRACTIONS) and (tail := _tail_length(word)):
            words[at : at + 1] = [word[:-tail], word[-tail:]]
    return words


def _closed_class(lower: str) -> Pos | None:
    if lower in _PARTICLES:
        return "PART"
    if lower in AUXILIARIES:
        return "AUX"
    if lower in NUMBERS or lower[0].isdigit():
        return "NUM"
    if lower in DETERMINERS:
        return "DET"
    if lower in PRONOUNS:
        return "PRON"
    if lower in INDEFINITES:
        return "NOUN"
    if lower in CONJUNCTIONS:
        return "CONJ"
    if lower in PREPOSITIONS:
        return "PREP"
    if lower in _ADVERBS:
        return "ADV"
    return None if lower[0].isalpha() else "PUNCT"


def _verb_lemma(lower: str) -> str:
    for pos, lemmas in lexicon_lemmas(lower):
        if pos == "VERB":
            return lemmas[0]
    return lower


def _open_class(words: Sequence[str], tags: Sequence[Pos | None], at: int) -> Pos:
    lower = words[at]
    can = possible_pos(lower)
    before = tags[at - 1] if at else None
    before_word = words[at - 1] if at else ""
    after_word = words[at + 1] if at + 1 < len(words) else ""
    after = tags[at + 1] if at + 1 < len(words) else "PUNCT"
    after_pos = possible_pos(after_word) if after is None else frozenset()
    noun_follows = bool(after_pos & {"NOUN", "ADJ"}) and not (after_word.endswith("ing") and "VERB" in after_pos)
    in_noun_phrase = before in ("DET", "ADJ", "NUM") or before_word == "'s"
    if lower in _ALWAYS_ADJECTIVES:
        return "ADJ"
    if can == {"NOUN"}:
        return "NOUN"
    if lower.endswith("ing") and "VERB" in can:
        if in_noun_phrase and before_word not in ("both", "all"):
            return "ADJ" if noun_follows else "NOUN" if "NOUN" in can else "VERB"
        # "parking meter", "dining table": a bare participle straight before a noun that ends its phrase
        if before == "PREP" and after is None and "NOUN" in possible_pos(after_word) and "NOUN" in can:
            return "NOUN"
        return "VERB"
    if "VERB" in can and (before_word == "to" or before_word in _PARTICLES):
        return "VERB" if not (before_word in _PARTICLES and "ADJ" in can) else "ADJ"
    if (
        "VERB" in can
        and before == "AUX"
        and before_word not in ("is", "are", "was", "were", "has", "have", "'s", "had")
    ):
        return "VERB"
    if lower.endswith(("ed", "en")) and "VERB" in can and "NOUN" not in can:
        return "ADJ" if in_noun_phrase or (noun_follows and ("ADJ" in can or before in ("PREP", "CONJ"))) else "VERB"
    if in_noun_phrase:
        if "ADJ" in can and (noun_follows or "NOUN" not in can):
            return "ADJ"
        if "NOUN" in can or (before == "DET" and not can & {"ADJ", "ADV"}):
            return "NOUN"
        return "ADJ" if "ADJ" in can else "ADV" if "ADV" in can else "VERB"
    if before == "AUX" and "ADJ" in can:
        return "ADJ"
    if "ADJ" in can and (noun_follows or lower in _COLOURS_AND_MATERIALS):
        return "ADJ"
    if {"VERB", "NOUN"} <= can:
        if before == "PRON":
            return "VERB"
        if (
            before in ("NOUN", "ADV")
            and _verb_lemma(lower) in _CAPTION_VERBS
            and after in ("PREP", "DET", "ADV", "PUNCT", "ADJ")
        ):
            singular_subject = not before_word.endswith("s") and before_word not in (
                "people",
                "men",
                "women",
                "children",
            )
            if lower.endswith("s") == singular_subject or before == "ADV":
                return "VERB"
        return "NOUN"
    for pos in ("NOUN", "VERB", "ADJ", "ADV"):
        if pos in can:
            return pos  # type: ignore[return-value]
    return "NOUN"


def _mark_long_prepositions(words: Sequence[str], tags: list[Pos | None]) -> None:
    for at, word in enumerate(words):
        for phrase in _PREPOSITIONS_BY_FIRST_WORD.get(word, ()):
            if tuple(words[at : at + len(phrase)]) == phrase:
                for j in range(at, at + len(phrase)):
                    tags[j] = "PREP"
                break


@lru_cache(maxsize=SENTENCES)
def tokenise(caption: str) -> tuple[Token, ...]:
    """Tokens of ``caption`` in order; deterministic, any Unicode text, never raises."""
    pieces = list(_pieces(caption))
    words = [piece.lower() for piece, _ in pieces]
    tags: list[Pos | None] = [_closed_class(word) if word else "PUNCT" for word in words]
    _mark_long_prepositions(words, tags)
    for at, tag in enumerate(tags):
        if tag is None:
            tags[at] = _open_class(words, tags, at)
        elif words[at] in ("'s", "'d") and at and tags[at - 1] == "NOUN":
            tags[at] = "PART"
    tokens = []
    for (piece, at), lower, tag in zip(pieces, words, tags, strict=True):
        pos: Pos = tag if tag is not None else "NOUN"
        tokens.append(Token(caption[at : at + len(piece)], lower, at, at + len(piece), lemma_of(lower, pos), pos))
    return tuple(tokens)


def content_words(caption: str) -> tuple[str, ...]:
    """Lemmas of the content words of ``caption``, in order, with repeats."""
    return tuple(token.lemma for token in tokenise(caption) if token.is_content)
