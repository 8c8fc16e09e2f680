"""The first tier: one pass over the bytes of captions that counts words and leaves the tenth of them that may hold a cue.

A pass of numpy over bytes costs a hundredth of one of a regular expression. Where words begin is needed to count them; what
may begin with the first letters of a cue is then a look into a table. A regular expression (`prefilter`) decides on the rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from negscale.scan.column import Column, bytes_of, count_beyond_ascii, rows_at

_BLOCK_BYTES = 1 << 19  # of text at a time: with what is made from it, a core's cache
_CASE, _A, _ZERO = np.uint8(32), np.uint8(ord("a")), np.uint8(ord("0"))
_BITS = 5
_MASK = np.uint8((1 << _BITS) - 1)
_AHEAD = 6  # letters of a word that are looked at
_PASSES, _LONG = 1, 2


@dataclass(frozen=True, slots=True)
class Sieve:
    """What may begin or end a cue.

    three: bool[2 ** 15] by the first three letters of a word. four: uint8[2 ** 20] by the first four: 1 passes, 2 where the
    third to sixth are in `rest` (bool[2 ** 20]; "without", not "with").
    contractions: "n't" passes. slashes: "/" passes ("w/o"). affixes: "-less" and "-free" pass.
    """

    three: np.ndarray
    four: np.ndarray
    rest: np.ndarray
    contractions: bool = True
    slashes: bool = False
    affixes: bool = False

    @classmethod
    def of(
        cls, beginnings: Iterable[str], contractions: bool = True, slashes: bool = False, affixes: bool = False
    ) -> Sieve:
        """Passes words that begin with any of `beginnings` (ASCII, in lower case), as far as six letters tell."""
        three = np.zeros(1 << 3 * _BITS, bool)
        four, rest = np.zeros(1 << 4 * _BITS, np.uint8), np.zeros(1 << 4 * _BITS, bool)
        for beginning in sorted(beginnings, key=len, reverse=True):  # where a short one passes, a long one does
            three[_slots(beginning[:3], 3)] = True
            four[_slots(beginning[:4], 4)] = _LONG if len(beginning) >= _AHEAD else _PASSES
            if len(beginning) >= _AHEAD:
                rest[_slots(beginning[2:_AHEAD], 4)] = True
        return cls(three, four, rest, contractions, slashes, affixes)


def _slots(letters: str, width: int) -> slice:
    """The places of a table by `width` letters that begin with these."""
    first = 0
    for code in _codes(np.frombuffer(letters.encode("ascii"), np.uint8)).tolist():
        first = first << _BITS | code
    left = _BITS * (width - len(letters))
    return slice(first << left, (first + 1) << left)


def _codes(text: np.ndarray) -> np.ndarray:
    return ((text | _CASE) - _A) & _MASK


def sift(column: Column, sieve: Sieve) -> tuple[int, np.ndarray]:
    """(words in all captions, int[] the captions that may hold a cue: ascending, ASCII and other ones).

    Words are runs of letters and digits with ' and - inside: "isn't" is one word. Captions with bytes beyond ASCII all
    pass; their words are counted by an expression.
    """
    words, places = _sift(column.text, column.offsets, sieve)
    rows = rows_at(places, column.offsets)
    if len(column.other):  # there the bytes say nothing about letters
        total, plain = count_beyond_ascii(column)
        words += total - _sift(*bytes_of(plain), sieve)[0]
        rows = _merged(rows, column.other, len(column.captions))
    return words, rows


def _sift(text: np.ndarray, offsets: np.ndarray, sieve: Sieve) -> tuple[int, np.ndarray]:
    """Words of all captions, bytes beyond ASCII being no letters, and the places at which something passed, ascending."""
    words, first, count = 0, 0, len(offsets) - 1
    found: list[np.ndarray] = []
    bench = _Bench(_BLOCK_BYTES)
    while first < count:  # whole captions, about a block of bytes
        last = int(np.searchsorted(offsets, offsets[first] + _BLOCK_BYTES, "right")) - 1
        last = min(max(last, first + 1), count)
        begin, end = int(offsets[first]), int(offsets[last])
        if end > begin:
            if end - begin > bench.size:
                bench = _Bench(end - begin)
            inner = offsets[first + 1 : last] - begin
            inner = inner[(inner > 0) & (inner < end - begin)]  # not those of empty captions at the ends
            more, places = bench.sift(text[begin:end], inner, sieve)
            words += more
            found.append(places + begin)
        first = last
    return words, np.concatenate(found) if found else np.empty(0, np.int64)


class _Bench:
    """Room for the intermediate results of a block, used again and again: fresh memory would cost more than the sums."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._code = np.zeros(size + _AHEAD, np.uint8)  # of a letter 0 to 25, whichever its case
        self._bytes = np.empty(size, np.uint8)
        room = -(-size // 8) * 8
        self._alpha, self._word, self._mask, self._more, self._less = (np.empty(room, bool) for _ in range(5))

    def sift(self, text: np.ndarray, inner: np.ndarray, sieve: Sieve) -> tuple[int, np.ndarray]:
        """For captions end to end in `text`, of which all but the first begin at `inner`: words, and what passed."""
        size = len(text)
        code, spare = self._code[:size], self._bytes[:size]
        alpha, word, mask = self._alpha[:size], self._word[:size], self._mask[:size]
        # arithmetic that wraps around at 256
        np.bitwise_or(text, _CASE, out=code)
        np.subtract(code, _A, out=code)
        self._code[size : size + _AHEAD] = 255
        np.less(code, 26, out=alpha)
        np.subtract(text, _ZERO, out=spare)
        np.less(spare, 10, out=word)
        np.logical_or(word, alpha, out=word)
        np.greater(word[1:], word[:-1], out=mask[1:])
        words = int(np.count_nonzero(mask[1:])) + bool(word[0])
        if len(inner):
            starts = inner[np.diff(inner, append=-1) != 0]  # empty captions begin where the next one does
            words += int(np.count_nonzero(word[starts] & word[starts - 1]))  # a word that only seems to go on
        else:
            starts = inner
        marks = self._marks(text, starts, sieve)
        kinds = text[marks]
        joins = marks[(kinds == ord("'")) | (kinds == ord("-"))]
        words -= int(np.count_nonzero(word[joins - 1] & word[joins + 1]))

        np.greater(alpha[1:], alpha[:-1], out=mask[1:])  # where words of letters alone begin: "4no" has one
        mask[0] = alpha[0]
        mask[starts] = alpha[starts]
        at = np.flatnonzero(mask)
        key = self._code.take(at).astype(np.uint16)
        for place in range(1, 3):
            key <<= _BITS
            key |= self._code[place:].take(at) & _MASK
        passed = np.flatnonzero(sieve.three.take(key))
        at, key = at.take(passed), key.take(passed).astype(np.int64)
        key = key << _BITS | self._code[3:].take(at) & _MASK
        passes = sieve.four.take(key)
        long = np.flatnonzero(passes == _LONG)
        if len(long):
            at_long, key = at[long], key[long] & ((1 << 2 * _BITS) - 1)
            for place in (4, 5):
                key <<= _BITS
                key |= self._code[at_long + place] & _MASK
            passes[long] = sieve.rest[key]
        more = self._marked(marks, kinds, sieve)
        return words, np.sort(np.concatenate([at[passes > 0], more]))

    def _marks(self, text: np.ndarray, starts: np.ndarray, sieve: Sieve) -> np.ndarray:
        """Places of ' - ` / between two bytes of one caption, and of the last letter of "less"."""
        size = len(text)
        mask, more, code = self._mask[:size], self._more[:size], self._code[:size]
        np.equal(text, ord("'"), out=mask)
        for mark in "-`/":
            if mark == "-" or (mark == "`" and sieve.contractions) or (mark == "/" and sieve.slashes):
                np.logical_or(mask, np.equal(text, ord(mark), out=more), out=mask)
        mask[0] = mask[-1] = mask[starts] = mask[starts - 1] = False
        if sieve.affixes and size > 3:
            s, less = np.equal(code, _code("s"), out=more), self._less[: size - 3]
            np.logical_and(s[3:], s[2:-1], out=less)
            np.logical_and(less, np.equal(code[1:-2], _code("e"), out=more[3:]), out=less)
            np.logical_and(less, np.equal(code[:-3], _code("l"), out=more[3:]), out=less)
            np.logical_or(mask[3:], less, out=mask[3:])
        return _places(self._mask, size)

    def _marked(self, marks: np.ndarray, kinds: np.ndarray, sieve: Sieve) -> np.ndarray:
        """Those of the marks that pass. kinds: their bytes."""
        code = self._code
        passes = kinds == ord("/")
        if sieve.affixes:
            passes |= kinds | _CASE == ord("s")
            passes |= (kinds == ord("-")) & (code[marks + 1] == _code("f")) & (code[marks + 2] == _code("r"))
        if sieve.contractions:
            quotes = (kinds == ord("'")) | (kinds == ord("`"))
            passes |= quotes & (code[marks - 1] == _code("n")) & (code[marks + 1] == _code("t"))
        return marks[passes]


def _merged(some: np.ndarray, others: np.ndarray, count: int) -> np.ndarray:
    marked = np.zeros(count, bool)
    marked[some] = marked[others] = True
    return np.flatnonzero(marked)


def _places(mask: np.ndarray, size: int) -> np.ndarray:
    """The places of the few that are true among the first `size`; eight at a time. Clears the rest of the last eight."""
    eights = -(-size // 8)
    mask[size : 8 * eights] = False
    found = np.flatnonzero(mask[: 8 * eights].view(np.uint64))
    inside = np.flatnonzero(mask[: 8 * eights].reshape(-1, 8)[found])
    return found[inside >> 3] * 8 + (inside & 7)


def _code(letter: str) -> int:
    return ord(letter) - ord("a")
