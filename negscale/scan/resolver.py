"""The vectorised second tier: the findings of most candidates, answered all at once, as `analysis` would answer them.

The first words of cues and look-alikes are found among the words of all candidates together. What such a word means depends
on the few words after it alone: each sequence of those that occurs (a window) is put to `analysis` once, and remembered.
Captions in which one cue may cancel or belong to another, contractions, numbers or signs near a cue, and text beyond ASCII are
left to `analysis`.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from threading import Lock
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from negscale.core.arrow import compute as pc
from negscale.language.cues import CUES, PSEUDO_CUES
from negscale.language.scope import CANCELLABLE, EXCEPTIONS
from negscale.scan.analysis import WORD_LIST, Group, affix_hit, first_finding
from negscale.scan.column import bytes_of, rows_at

ASK: Final = -1  # the caption needs `analysis`
NOTHING: Final = 0

_CUE_WORDS: Final = tuple(cue.words for cue in CUES)
_PHRASES: Final = (*_CUE_WORDS, *PSEUDO_CUES)
_NO_WORDS: Final = frozenset({"n't", "*", "#", ".", "/"})
VOCABULARY: Final = tuple(sorted({word for phrase in _PHRASES for word in phrase} - _NO_WORDS))
"""Words that cues and look-alikes are made of; the number of a word is its place plus 1, 0 = any other word."""
LONGEST: Final = max(map(len, _PHRASES))
assert len(VOCABULARY) < 256, "a word no longer fits a byte"
assert LONGEST < 8, "a window no longer fits 63 bits"
_NUMBER: Final = {word: number for number, word in enumerate(VOCABULARY, 1)}
# "n't" is seen by its bytes, "in the absence of" by its third word
_OPENS: Final = frozenset(words[0] for words in _CUE_WORDS) - {"n't", "in"}
# a cue's first word after one of these may be part of a longer phrase: "believe it or not", "the absence"
_PAIRS: Final = np.array(sorted({
    _NUMBER[before] << 8 | _NUMBER[word] for phrase in _PHRASES for before, word in pairwise(phrase)
    if word in _OPENS and before in _NUMBER
}), np.int64)  # fmt: skip


def _marked(words: frozenset[str] | set[str]) -> np.ndarray:
    """bool[256] by number of a word."""
    marks = np.zeros(256, bool)
    marks[[_NUMBER[word] for word in words if word in _NUMBER]] = True
    return marks


def _bytes(letters: str) -> np.ndarray:
    """bool[256] by byte."""
    marks = np.zeros(256, bool)
    marks[list(letters.encode())] = True
    return marks


_OPENERS: Final = _marked(_OPENS | {"cannot"})
_LISTED: Final = _marked(WORD_LIST | {"cannot"})
_FIXED: Final = tuple(phrase for phrase in _PHRASES if not {"*", "#"} & set(phrase))
_STARRED: Final = _marked({phrase[0] for phrase in PSEUDO_CUES if "*" in phrase})
_SIGNS: Final = _marked({phrase[-1] for phrase in PSEUDO_CUES if "*" in phrase})
_NUMBERED: Final = _marked({phrase[0] for phrase in PSEUDO_CUES if "#" in phrase})
_CANNOT, _W = _NUMBER["cannot"], _NUMBER["w"]
_JOINS, _DIGITS, _POINT = _bytes("-'`"), _bytes("0123456789"), _bytes(".")
_AROUND: Final = _JOINS | _DIGITS
_SPACE, _NEWLINE, _SLASH = ord(" "), ord("\n"), ord("/")
_WORD_TYPE: Final = pa.array(VOCABULARY)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a window means."""

    group: Group | Literal["look-alike", "listed"]
    name: str
    listed: bool  # its word is of the literature's list
    dependent: bool = False  # what it means depends on an explicit cue before it, or on any if it is an exception
    exception: bool = False


@dataclass(frozen=True, slots=True)
class Resolved:
    """Findings of captions, by caption and in their order: `rows` int[F], `numbers` int[F] in `Resolver.findings`.

    ask: int[], captions that need `analysis`; they have no findings here.
    """

    rows: np.ndarray
    numbers: np.ndarray
    ask: np.ndarray


class Resolver:
    """Answers captions; remembers windows and affixes. Thread-safe."""

    def __init__(self, word_list_only: bool = False) -> None:
        """word_list_only: findings are the words of the literature's list, whatever they mean."""
        self._listed_only = word_list_only
        self._lock = Lock()
        self.findings: list[Finding] = [Finding("listed", "", False)]  # 0 = NOTHING
        self._numbers: dict[Finding, int] = {}
        self._windows: dict[int, int] = {}
        self._affixes: dict[bytes, int] = {}
        self._reaches: dict[int, int] = {}

    def resolve(self, captions: pa.Array) -> Resolved:
        """What string[N] hold."""
        words = _Words(captions)
        ask = np.zeros(len(captions), bool)
        ask[words.odd] = True
        if not len(words.starts):
            return Resolved(np.empty(0, np.int64), np.empty(0, np.int64), np.flatnonzero(ask))
        at, numbers = self._found(words)
        some = np.flatnonzero(numbers != NOTHING)
        some = some[np.argsort(at[some], kind="stable")]
        rows, numbers = words.row_of(at[some]), numbers[some]
        ask[rows[numbers == ASK]] = True
        clear = np.flatnonzero(~ask[rows])
        rows, numbers = rows[clear], numbers[clear]
        again = np.diff(rows, prepend=-1) == 0  # not the first of its caption
        if again.any():
            explicit, dependent, exception = self._marks().T[:, numbers]
            earlier = np.cumsum(explicit) - explicit
            first = np.maximum.accumulate(np.where(again, 0, np.arange(len(rows))))
            dependent = dependent & (earlier > earlier[first])
            ask[rows[again & exception | dependent]] = True
            clear = ~ask[rows]
            rows, numbers = rows[clear], numbers[clear]
        return Resolved(rows, numbers, np.flatnonzero(ask))

    def _marks(self) -> np.ndarray:
        """bool[findings, 3]: explicit, dependent, exception."""
        marks = [(finding.group == "explicit", finding.dependent, finding.exception) for finding in self.findings]
        return np.array(marks, bool)

    def _found(self, words: _Words) -> tuple[np.ndarray, np.ndarray]:
        """Places of the words that may open a finding, and what each opens."""
        if self._listed_only:
            at = np.flatnonzero(_LISTED[words.numbers])
            found = self._from_windows(words.numbers[at])
        else:
            openers = np.flatnonzero(_OPENERS[words.numbers])
            codes, unclear = words.windows(openers)
            self._see_before(words, openers, unclear)
            affixed = words.affixed()
            found = np.concatenate([self._from_windows(codes), self._from_affixes(words, affixed)])
            found[: len(openers)][unclear] = ASK
            at = np.concatenate([openers, affixed])
        return at, np.where(words.joined(at) | (words.numbers[at] == _CANNOT), ASK, found)

    def _see_before(self, words: _Words, at: np.ndarray, unclear: np.ndarray) -> None:
        """Mark the first words that are inside of a phrase that begins before them: "in the absence of", "last but not"."""
        led = np.flatnonzero(words.led(at) & ~unclear)
        for back in range(1, LONGEST):
            begins = at[led] - back
            led = led[(begins >= 0) & (words.numbers[begins] > 0)]
            if not len(led):
                return
            begins = at[led] - back
            codes, odd = words.codes(begins)
            reaches = np.array([self._reach(code) for code in codes.tolist()])
            unclear[led] |= odd | (reaches > back) | _STARRED[words.numbers[begins]] & words.with_sign(begins)

    def _reach(self, code: int) -> int:
        """Words of the longest phrase that begins a window; 0 for none."""
        if (reach := self._reaches.get(code)) is None:
            window = _words_of(code)
            reach = max((len(phrase) for phrase in _FIXED if phrase == window[: len(phrase)]), default=0)
            self._reaches[code] = reach
        return reach

    def _from_windows(self, codes: np.ndarray) -> np.ndarray:
        unique, back = np.unique(codes, return_inverse=True)
        known = self._windows
        return np.array([known[code] if code in known else self._open(code) for code in unique.tolist()], int)[back]

    def _open(self, code: int) -> int:
        window = _words_of(code)
        listed = window[0] in WORD_LIST
        if self._listed_only or window[0] == "cannot":
            number = self._number(Finding("listed", window[0], True))
        elif (found := first_finding(window)) is None:
            number = NOTHING
        else:
            # of the words after it at worst one too many
            depends = not CANCELLABLE.isdisjoint(window), not EXCEPTIONS.isdisjoint(window)
            number = ASK if isinstance(found, str) else self._number(Finding(*found, listed, *depends))
        self._windows[code] = number
        return number

    def _from_affixes(self, words: _Words, at: np.ndarray) -> np.ndarray:
        found = np.zeros(len(at), int)
        for index, word in enumerate(words.spelled(at)):
            if (number := self._affixes.get(word)) is None:
                hit = affix_hit(word.decode())
                number = (
                    NOTHING
                    if hit is None
                    else self._number(Finding(hit.group, hit.name, False, word.decode() in CANCELLABLE))
                )
                if len(self._affixes) < 1 << 16:
                    self._affixes[word] = number
            found[index] = number
        return found

    def _number(self, finding: Finding) -> int:
        with self._lock:
            if finding not in self._numbers:
                self._numbers[finding] = len(self.findings)
                self.findings.append(finding)
            return self._numbers[finding]


def _words_of(code: int) -> tuple[str, ...]:
    return tuple(VOCABULARY[number - 1] for number in code.to_bytes(8, "little") if number)


class _Words:
    """The words of all captions: runs of letters, hyphens inside, in lower case, as places in one text."""

    def __init__(self, captions: pa.Array) -> None:
        lines = pc.binary_join_element_wise(pc.ascii_lower(captions), "", "\n")
        text, offsets = bytes_of(lines)
        self.text = text = np.concatenate([[np.uint8(_NEWLINE)], text, [np.uint8(_NEWLINE)] * 2])
        self.offsets = offsets + 1
        letters = text - np.uint8(ord("a")) < 26
        inside = letters.copy()
        hyphens = np.flatnonzero(text[1:-1] == ord("-")) + 1
        hyphens = hyphens[letters[hyphens - 1] & letters[hyphens + 1]]
        inside[hyphens] = True
        self.starts = np.flatnonzero(inside[1:] > inside[:-1]) + 1
        self.ends = np.flatnonzero(inside[1:] < inside[:-1]) + 1
        self.numbers = self._numbered()
        self.odd = self._odd(hyphens)

    def _numbered(self) -> np.ndarray:
        if not len(self.starts):
            return np.empty(0, np.int64)
        # words and what lies between them, turn about: an Arrow array over the text as it is
        spans = np.empty(2 * len(self.starts), np.int32)
        spans[0::2], spans[1::2] = self.starts, self.ends
        pieces = pa.StringArray.from_buffers(len(spans) - 1, pa.py_buffer(spans), pa.py_buffer(self.text))
        places = pc.index_in(pieces, value_set=_WORD_TYPE).fill_null(-1)
        return places.to_numpy()[::2].astype(np.int64) + 1

    def _odd(self, hyphens: np.ndarray) -> np.ndarray:
        """Captions whose words are cut otherwise than here: control characters, beyond ASCII, "n't", "4th-no-one"."""
        text, last = self.text, self.offsets - 1
        marks = (text - np.uint8(_SPACE)) > ord("~") - _SPACE
        marks[0] = marks[-2:] = marks[last] = False  # the ends of captions
        quotes = np.flatnonzero((text == ord("'")) | (text == ord("`")))
        marks[quotes[(text[quotes - 1] == ord("n")) & (text[quotes + 1] == ord("t"))]] = True
        if len(hyphens):
            before = self.starts[np.searchsorted(self.starts, hyphens, "right") - 1] - 1
            marks[before[_AROUND[text[before]]]] = True
        return rows_at(np.flatnonzero(marks), self.offsets)

    def row_of(self, at: np.ndarray) -> np.ndarray:
        """Captions of words."""
        return np.searchsorted(self.offsets, self.starts[at], "right") - 1

    def spelled(self, at: np.ndarray) -> list[bytes]:
        """The words themselves."""
        text = self.text.tobytes() if len(at) else b""
        return [text[start:end] for start, end in zip(self.starts[at].tolist(), self.ends[at].tolist(), strict=True)]

    def affixed(self) -> np.ndarray:
        """Words that begin or end as affixed cues do and are no first words of others."""
        long = np.flatnonzero((self.ends - self.starts >= 6) & ~_OPENERS[self.numbers])
        text, starts, ends = self.text, self.starts[long], self.ends[long]
        un = (text[starts] == ord("u")) & (text[starts + 1] == ord("n"))
        less = (text[ends - 1] == ord("s")) & (text[ends - 4] == ord("l"))
        free = (text[ends - 5] == ord("-")) & (text[ends - 4] == ord("f"))
        return long[un | less | free]

    def joined(self, at: np.ndarray) -> np.ndarray:
        """bool[]: words that belong to something longer, as "nobody's" and "4-no" do."""
        before, after = self.text[self.starts[at] - 1], self.text[self.ends[at]]
        return _AROUND[before] | _JOINS[after]

    def windows(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For first words: each with the words of the vocabulary that follow it, as a number, and where that is unclear.

        A byte a word, the first in the lowest.
        """
        text, ends = self.text, self.ends
        first, after, next_after = self.numbers[at], text[ends[at]], text[ends[at] + 1]
        codes, unclear = self.codes(at)
        number_follows = _POINT[after] | _DIGITS[after] | (after == _SPACE) & (_POINT | _DIGITS)[next_after]
        unclear |= _NUMBERED[first] & number_follows
        unclear |= (first == _W) & ((after == _SLASH) | (after == _SPACE) & (next_after == _SLASH))
        return codes, unclear | _STARRED[first] & self.with_sign(at)

    def led(self, at: np.ndarray) -> np.ndarray:
        """bool[]: words that may go on with what the word before begins."""
        return np.isin(np.where(at > 0, self.numbers[at - 1], 0) << 8 | self.numbers[at], _PAIRS)

    def with_sign(self, at: np.ndarray) -> np.ndarray:
        """bool[]: words whose captions speak of a sign or the like, as "no parking sign" does."""
        signs = np.flatnonzero(_SIGNS[self.numbers])
        return np.isin(self.row_of(at), self.row_of(signs)) if len(signs) else np.zeros(len(at), bool)

    def codes(self, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`windows` for any words; unclear where words are not set apart by one blank."""
        text, numbers, ends = self.text, self.numbers, self.ends
        unclear = np.zeros(len(at), bool)
        codes, word = numbers[at], at.copy()
        alive = np.arange(len(at))
        for place in range(LONGEST):
            end = ends[word[alive]]
            unclear[alive] |= _JOINS[text[end]] | (text[end] == _SPACE) & (text[end + 1] == _SPACE)
            following = np.minimum(word[alive] + 1, len(numbers) - 1)
            goes_on = (text[end] == _SPACE) & (self.starts[following] == end + 1) & (numbers[following] > 0)
            alive, following = alive[goes_on], following[goes_on]
            if not len(alive) or place == LONGEST - 1:
                break
            word[alive] = following
            codes[alive] |= numbers[following] << 8 * (place + 1)
        return codes, unclear
