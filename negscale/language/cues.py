"""Negation cues of captions as data: the words, the form they are reported under and which way they negate.

No paper lists its cues (NegationCLIP counts "negation words" without naming them). Explicit cues, lexical ones
("devoid of", "is missing") and affixes ("leafless", "unoccupied") are all here, and so are the look-alikes that negate
nothing in the picture ("no parking sign", "nothing but", "not only"). ``scope.py`` decides what a cue covers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Final, Literal

from negscale.language.caches import WORDS
from negscale.language.tokens import Token, lexicon_lemmas, word_set

Form = Literal["no", "not", "without", "never", "none", "neither", "lexical", "affix"]
FORMS: Final[tuple[Form, ...]] = ("no", "not", "without", "never", "none", "neither", "lexical", "affix")

Reach = Literal["noun_phrase", "verb_phrase", "left", "either", "self"]
"""``noun_phrase`` and ``verb_phrase`` negate to the right, ``left`` the subject before the cue, ``either`` is decided by
its neighbours ("a missing hat", "the hat is missing"), ``self`` is an adjective that carries its own negation."""

PEOPLE: Final = frozenset(
    {"person", "people", "man", "woman", "child", "passenger", "human", "pedestrian", "rider", "crowd"}
)


@dataclass(frozen=True, slots=True)
class Cue:
    """A cue's words (lower case), its form label, its reach, and lemmas it denies without naming them."""

    words: tuple[str, ...]
    form: Form
    reach: Reach
    implied: frozenset[str] = frozenset()

    @property
    def text(self) -> str:
        """The cue as it is printed."""
        return " ".join(self.words).replace(" n't", "n't")


def _cues(form: Form, reach: Reach, *patterns: str, implied: Iterable[str] = ()) -> list[Cue]:
    """Cues for ``patterns``, each a phrase whose words may be alternatives written ``lack/lacks``."""
    return [
        Cue(words, form, reach, frozenset(implied))
        for pattern in patterns
        for words in product(*(word.split("/") for word in pattern.split()))
    ]


_BE_PRESENT = "present/visible/there/seen/shown/pictured/included/depicted/featured/displayed/around/here/nearby"
_PLACE = "image/picture/photo/photograph/scene/frame/view/shot/sight"

CUES: Final[tuple[Cue, ...]] = tuple(
    _cues(
        "no",
        "noun_phrase",
        "no",
        "not/n't a single",
        "not/n't any",
        "not/n't one",
        "zero",
        "hardly/barely/scarcely any",
    )
    + _cues("no", "noun_phrase", "no sign/signs/trace/sight/evidence/hint of")
    + _cues("not", "verb_phrase", "not", "n't", "no longer")
    + _cues("not", "left", f"not/n't {_BE_PRESENT}", f"not/n't in the {_PLACE}", "not/n't in sight/view/frame")
    + _cues(
        "not", "left", "not/n't to be seen/found", "not/n't exist/appear", "not/n't be seen/found", "not/n't existing"
    )
    + _cues("not", "left", "not/n't part of", "not/n't among")
    + _cues("without", "noun_phrase", "without", "sans", "minus")
    + [Cue(("w", "/", "o"), "without", "noun_phrase")]
    + _cues("never", "verb_phrase", "never")
    + _cues("none", "verb_phrase", "none", "nothing")
    + _cues("none", "verb_phrase", "nobody", "no one", "noone", "no-one", implied=PEOPLE)
    + _cues("none", "left", "nowhere to be seen/found", "nowhere in sight/view", "nowhere in the " + _PLACE, "nowhere")
    + _cues("neither", "noun_phrase", "neither", "nor")
    + _cues("lexical", "noun_phrase", "devoid/empty/free/void/bereft/bare/clear/stripped/deprived/absent of")
    + _cues("lexical", "noun_phrase", "lack/lacks/lacked of", "lack/lacks/lacked", "absence of", "in the absence of")
    + _cues(
        "lexical",
        "noun_phrase",
        "excluding/excludes/exclude",
        "except/excepting",
        "except for",
        "instead of",
        "rather than",
    )
    + _cues("lexical", "noun_phrase", "free from", "unaccompanied by", "uncovered by", "untouched by", "unadorned by")
    + _cues("lexical", "verb_phrase", "fail/fails/failed/failing to", "refuse/refuses/refused/refusing to")
    + _cues("lexical", "verb_phrase", "avoid/avoids/avoiding", "refrain/refrains/refraining from")
    + _cues(
        "lexical",
        "left",
        "nonexistent",
        "non-existent",
        "out of sight/view/frame/shot",
        "excluded",
        "unseen",
        "invisible",
    )
    + _cues("lexical", "either", "absent", "missing", "lacking", "gone")
    + _cues(
        "lexical", "self", "unoccupied", "deserted", "uninhabited", "vacant", "unpopulated", "unmanned", implied=PEOPLE
    )
    + _cues("lexical", "self", "abandoned", "unattended", "unaccompanied", implied=PEOPLE)
    + _cues("lexical", "self", "empty")
    + _cues("lexical", "self", "bare", implied=("leaf", "decoration", "furniture", "cover"))
    + _cues(
        "lexical", "self", "barefoot", "barefooted", implied=("shoe", "sock", "sandal", "boot", "footwear", "sneaker")
    )
    + _cues("lexical", "self", "bareheaded", "bare-headed", "hatless", implied=("hat", "cap", "helmet"))
    + _cues("lexical", "self", "bare-chested", "barechested", implied=("shirt", "t-shirt", "top"))
    + _cues("lexical", "self", "bareback", implied=("saddle",))
    + _cues("lexical", "self", "naked", "nude", implied=("clothes", "clothing", "shirt", "garment"))
    + _cues("lexical", "self", "bald", "hairless", implied=("hair",))
    + _cues("lexical", "self", "clean-shaven", implied=("beard", "mustache", "moustache"))
    + _cues("affix", "self", "unpaved", implied=("pavement", "asphalt"))
    + _cues("affix", "self", "unfurnished", implied=("furniture", "chair", "table", "sofa", "couch"))
    + _cues("affix", "self", "unlit", implied=("light", "lamp", "candle"))
    + _cues("affix", "self", "uncovered", implied=("cover", "lid", "blanket", "roof"))
    + _cues("affix", "self", "undecorated", "unadorned", implied=("decoration", "ornament"))
    + _cues("affix", "self", "cordless", implied=("cord", "wire", "cable"))
    + _cues("affix", "self", "treeless", implied=("tree", "forest"))
)

# Phrases whose words look like cues and that deny nothing in the picture. "*" stands for one to three words.
PSEUDO_CUES: Final[tuple[tuple[str, ...], ...]] = tuple(
    tuple(phrase.split())
    for phrase in (
        "no * sign",
        "no * signs",
        "no * symbol",
        "no * zone",
        "no * area",
        "no * lane",
        "do not * sign",
        "do n't * sign",
        "no . #",
        "no #",
        "without a doubt",
        "without doubt",
        "without question",
        "no doubt",
        "no wonder",
        "no matter",
        "no problem",
        "no more than",
        "no fewer than",
        "no less than",
        "no later than",
        "no other than",
        "none other than",
        "nothing but",
        "nothing other than",
        "nothing more than",
        "none but",
        "nothing except",
        "not only",
        "not just",
        "not merely",
        "not simply",
        "not to mention",
        "not unlike",
        "whether or not",
        "or not",
        "more often than not",
        "why not",
        "last but not least",
        "cannot help but",
        "can not help but",
        "ca n't help but",
        "missing link",
        "missing person poster",
        "missing person sign",
        "missing poster",
    )
)
_PSEUDO_SIGN_WORDS = word_set(
    "parking smoking entry entrance stopping standing trespassing turn u-turn turns left right swimming fishing diving ",
    "dogs pets littering loitering passing pedestrians bicycles bikes cycling skating skateboarding dumping vehicles trucks ",
    "cars enter outlet exit access walk cross block feed touch disturb the",
)

# What an "empty" thing is empty of, by the thing's lemma; anything else is taken to be empty of people.
_VEHICLES = frozenset({"car", "vehicle", "truck", "bus", "traffic"})
_FOOD = frozenset({"food", "fruit", "vegetable"})
_DRINK = frozenset({"water", "drink", "beverage", "wine", "beer", "coffee", "milk", "juice", "liquid"})
_EMPTY_OF: Final[dict[str, frozenset[str]]] = {
    **dict.fromkeys(("plate", "bowl", "dish", "tray", "basket", "fridge", "refrigerator", "oven", "pan", "pot"), _FOOD),
    **dict.fromkeys(("glass", "cup", "mug", "bottle", "pitcher", "pool", "sink", "bathtub", "tub"), _DRINK | PEOPLE),
    **dict.fromkeys(("street", "road", "highway", "lot", "intersection", "garage", "bridge"), _VEHICLES | PEOPLE),
    "vase": frozenset({"flower", "plant", "water"}),
    "sky": frozenset({"cloud", "bird", "plane", "airplane", "kite"}),
    "field": PEOPLE | {"animal", "cow", "sheep", "horse"},
    "room": PEOPLE | {"furniture", "chair", "table"},
    "shelf": frozenset({"book", "bottle", "item"}),
}

# "-less" and "un-" words of captions that are names of things or have lost their negation.
_NOT_AFFIXED = word_set(
    "unless under underneath until union unit united unique uniform uniformed universal university unicycle unicorn ",
    "unidentified unknown unusual unlike unusually unison nevertheless nonetheless regardless wireless stainless bless ",
    "blessed endless countless seamless effortless restless reckless ruthless timeless priceless flawless helpless harmless ",
    "homeless useless careless unattended unload unloads unloading unloaded undo unwrap unwrapping unfold unfolding unveil ",
    "unlock unpack unpacking unroll unzip untie understand undergo undergoing unleash",
)

_BY_FIRST: Final[dict[str, tuple[Cue, ...]]] = {
    first: tuple(sorted((cue for cue in CUES if cue.words[0] == first), key=lambda cue: -len(cue.words)))
    for first in {cue.words[0] for cue in CUES}
}
_PSEUDO_BY_FIRST: Final[dict[str, tuple[tuple[str, ...], ...]]] = {
    first: tuple(phrase for phrase in PSEUDO_CUES if phrase[0] == first)
    for first in {phrase[0] for phrase in PSEUDO_CUES}
}


def match_cue(tokens: Sequence[Token], at: int) -> Cue | None:
    """The longest cue that starts at token ``at``, affixes included; None when there is none."""
    word = tokens[at].lower
    for cue in _BY_FIRST.get(word, ()):
        if len(cue.words) == 1 or cue.words == tuple(token.lower for token in tokens[at : at + len(cue.words)]):
            if cue.words == ("empty",):
                return Cue(cue.words, cue.form, cue.reach, _emptied_of(tokens, at))
            return cue
    return _affix_cue(word, tokens[at].pos)


def pseudo_cue_length(tokens: Sequence[Token], at: int) -> int:
    """Number of tokens of the look-alike that starts at ``at`` and negates nothing, 0 when there is none."""
    for phrase in _PSEUDO_BY_FIRST.get(tokens[at].lower, ()):
        length = _match_pseudo(phrase, tokens, at)
        if length:
            return length
    return 0


def _match_pseudo(phrase: tuple[str, ...], tokens: Sequence[Token], at: int) -> int:
    j = at
    for index, word in enumerate(phrase):
        if word == "*":
            final = phrase[index + 1]
            for skip in range(1, 5):
                if j + skip >= len(tokens) or tokens[j + skip - 1].lower not in _PSEUDO_SIGN_WORDS:
                    return 0
                if tokens[j + skip].lower == final:
                    return j + skip + 1 - at
            return 0
        if j >= len(tokens):
            return 0
        if word == "#":
            if not tokens[j].lower[0].isdigit():
                return 0
        elif tokens[j].lower != word:
            return 0
        j += 1
    return j - at


def _emptied_of(tokens: Sequence[Token], at: int) -> frozenset[str]:
    for token in tokens[at + 1 : at + 4]:
        if token.lemma in _EMPTY_OF:
            return _EMPTY_OF[token.lemma]
        if token.pos not in ("NOUN", "ADJ"):
            break
    for token in reversed(tokens[:at]):
        if token.pos == "NOUN":
            return _EMPTY_OF.get(token.lemma, PEOPLE)
    return PEOPLE


@lru_cache(maxsize=WORDS)
def _affix_cue(word: str, pos: str) -> Cue | None:
    if word in _NOT_AFFIXED or pos not in ("ADJ", "VERB", "NOUN", "ADV"):
        return None
    if word.endswith("-free") and len(word) > 7:
        return Cue((word,), "affix", "self", frozenset({word[:-5]}))
    if word.endswith("less") and len(word) > 6:
        stem = word[:-4].rstrip("-")
        known = {pos for pos, _ in lexicon_lemmas(stem)}
        if "NOUN" in known:
            return Cue((word,), "affix", "self", frozenset({stem}))
    if word.startswith("un") and len(word) > 5:
        stem = word[2:].lstrip("-")
        known = {pos for pos, _ in lexicon_lemmas(stem)}
        if "ADJ" in known or ("VERB" in known and stem.endswith(("ed", "en", "ing", "cut"))):
            lemmas = {lemma for _, lemmas in lexicon_lemmas(stem) for lemma in lemmas}
            return Cue((word,), "affix", "self", frozenset(lemmas | {stem}))
    return None
