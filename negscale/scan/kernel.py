"""The first pass over the bytes of captions: words counted and phrases found by one automaton, compiled by Numba.

RE2 takes a step of its automaton for every byte, and each step waits for the one before. Here four runs of captions go through
the automaton at once, so that the steps of one are taken while those of the others wait; and the automaton counts words as
well. The interpreter's lock is not held: threads work at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import Any, Final

import numba
import numpy as np
import pyarrow as pa

from negscale.scan.column import bytes_of
from negscale.scan.compiled import compiled

HELD, BEYOND_ASCII = 1, 2
"""What is said of a caption: it holds a phrase; it has a byte beyond ASCII (and nothing else is known of it)."""

_LETTERS: Final = {letter: number for number, letter in enumerate(ascii_lowercase)}
_HYPHEN, _GAP, _DIGIT, _QUOTE, _TICK, _SLASH, _OTHER, _BEYOND, _END = range(26, 35)
_KINDS: Final = 35
_NO_LETTER: Final = frozenset(range(26, _KINDS))
_VISIBLE: Final = frozenset(range(_KINDS)) - {_GAP, _BEYOND, _END}
_HIT_BIT, _BEYOND_BIT, _WORD_BIT = (np.uint32(1 << bit) for bit in (31, 30, 29))
_STATE, _ONE, _WORD_SHIFT = np.uint32((1 << 29) - 1), np.uint32(1), np.uint32(29)
_State = tuple[frozenset[int], int]  # nodes that are active, where in a word one is


def _kind_of_bytes() -> np.ndarray:
    kinds = np.full(256, _OTHER, np.uint8)
    kinds[128:] = _BEYOND
    kinds[:33] = kinds[127] = _GAP  # what is no visible ASCII
    kinds[ord("0") : ord("9") + 1] = _DIGIT
    for letter, number in _LETTERS.items():
        kinds[ord(letter)] = kinds[ord(letter.upper())] = number
    for mark, kind in (("-", _HYPHEN), ("'", _QUOTE), ("`", _TICK), ("/", _SLASH)):
        kinds[ord(mark)] = kind
    return kinds


_KIND: Final = _kind_of_bytes()


@dataclass(slots=True)
class _Net:
    """A non-deterministic automaton under construction: node -> [(kinds, next node)]. A hit is the node -1."""

    steps: list[list[tuple[frozenset[int], int]]] = field(default_factory=lambda: [[], []])
    BEGIN, ANY = 0, 1  # active where a word may begin; active everywhere

    def add(self, start: int, pattern: Sequence[frozenset[int]], loops: Sequence[int] = ()) -> int:
        """Nodes for a pattern from `start`; those whose numbers are in `loops` may be passed any number of times."""
        node = start
        for number, kinds in enumerate(pattern):
            node = self._next(node, kinds)
            if number in loops:
                self._link(node, kinds, node)
        return node

    def _next(self, node: int, kinds: frozenset[int]) -> int:
        for known, after in self.steps[node]:
            if known == kinds and after not in (node, -1):
                return after
        self.steps.append([])
        self._link(node, kinds, len(self.steps) - 1)
        return len(self.steps) - 1

    def _link(self, node: int, kinds: frozenset[int], after: int) -> None:
        if (kinds, after) not in self.steps[node]:
            self.steps[node].append((kinds, after))

    def end(self, node: int, kinds: frozenset[int] = _NO_LETTER) -> None:
        """A hit once one of `kinds` follows."""
        self._link(node, kinds, -1)


def _sets(text: str) -> list[frozenset[int]]:
    return [frozenset({int(_KIND[ord(letter)])}) for letter in text]


def _net_of(phrases: Iterable[Sequence[str]], extras: bool) -> _Net:
    net = _Net()
    for phrase in sorted(map(tuple, phrases)):
        text = " ".join(phrase)
        net.end(net.add(net.BEGIN, _sets(text), [at for at, letter in enumerate(text) if letter == " "]))
    quotes = frozenset({_QUOTE, _TICK})
    net.end(net.add(net.ANY, [*_sets("n"), quotes, *_sets("t")]))
    if extras:
        for before in ("", " "):
            for after in ("", " "):
                spelled = f"w{before}/{after}o"
                net.end(net.add(net.BEGIN, _sets(spelled), [at for at, letter in enumerate(spelled) if letter == " "]))
        net.end(net.add(net.BEGIN, [*_sets("un"), _VISIBLE, _VISIBLE, _VISIBLE]), _VISIBLE)
        net.end(net.add(net.ANY, _sets("less")))
        net.end(net.add(net.ANY, _sets("-free")))
    return net


@dataclass(frozen=True, slots=True)
class Phrases:
    """What is looked for, as an automaton. steps: uint32[states * kinds], each the next state times the number of kinds,
    and bits for a hit, a byte beyond ASCII, and the beginning of a word."""

    steps: np.ndarray

    @classmethod
    def of(cls, phrases: Iterable[Sequence[str]], extras: bool) -> Phrases:
        """phrases: words in lower case, of ASCII letters and hyphens; between words any gap will do. "n't" is always found.

        extras: also "w/o", words that begin with un- and have four letters more, and what ends with -less or -free.
        """
        net = _net_of(phrases, extras)
        first: _State = (frozenset({net.BEGIN, net.ANY}), 0)
        numbers: dict[_State, int] = {first: 0}
        queue: list[_State] = [first]
        rows: list[np.ndarray] = []
        for nodes, word in queue:  # grows on the way
            row = np.zeros(_KINDS, np.uint32)
            reached: list[set[int]] = [set() for _ in range(_KINDS)]
            for node in nodes:
                for kinds, after in net.steps[node]:
                    for kind in kinds:
                        reached[kind].add(after)
            for kind in range(_KINDS):
                bits = _HIT_BIT if -1 in reached[kind] else 0
                then, begins = _count(word, kind)
                if kind == _END:
                    state = first
                else:
                    always = {net.BEGIN, net.ANY} if kind in _NO_LETTER else {net.ANY}
                    state = (frozenset(reached[kind] - {-1} | always), then)
                if state not in numbers:
                    numbers[state] = len(numbers)
                    queue.append(state)
                bits |= (_WORD_BIT if begins else 0) | (_BEYOND_BIT if kind == _BEYOND else 0)
                row[kind] = numbers[state] * _KINDS | bits
            rows.append(row)
        return cls(np.concatenate(rows))


def _count(word: int, kind: int) -> tuple[int, bool]:
    """(where in a word one is after `kind`, whether it begins one): 0 outside, 1 inside, 2 after a joining mark inside."""
    if kind < _HYPHEN or kind == _DIGIT:
        return 1, word == 0
    return (2 if word == 1 and kind in (_HYPHEN, _QUOTE) else 0), False


def sift(captions: pa.Array, phrases: Phrases) -> tuple[int, np.ndarray]:
    """(words of the plain ASCII captions, uint8[N] of `HELD` and `BEYOND_ASCII`) for string[N] without nulls.

    Words are runs of letters and digits with ' and - inside: "isn't" is one word.
    """
    text, offsets = bytes_of(captions)
    found = np.zeros(len(captions), np.uint8)
    filled = np.flatnonzero(np.diff(offsets) > 0) if (offsets[1:] == offsets[:-1]).any() else None
    if filled is not None:  # the lanes know no empty captions
        offsets = np.append(offsets[filled], offsets[-1:])
    seen = np.zeros(len(offsets) - 1, np.uint8)
    words = _run(text, offsets, _KIND, phrases.steps, seen) if len(seen) else 0
    found[slice(None) if filled is None else filled] = seen
    return int(words), found


@numba.njit(inline="always")
def _close(seen: Any, count: Any, row: Any, found: Any) -> Any:
    """Notes what was seen of a caption; returns its words, none where it is not plain ASCII."""
    if seen & _BEYOND_BIT:
        found[row] = BEYOND_ASCII
        return np.uint64(0)
    found[row] = HELD if seen & _HIT_BIT else 0
    return count


@numba.njit(nogil=True, boundscheck=False)
def _rest(
    text: Any, at: Any, row: Any, last_row: Any, state: Any, seen: Any, count: Any, offsets: Any, kinds: Any, steps: Any,
    found: Any,
) -> Any:  # fmt: skip
    """The end of a lane, alone: from place `at` of caption `row` on, up to `last_row`; returns the words."""
    words = np.uint64(0)
    for number in range(row, last_row):
        for place in range(at, np.uint64(offsets[number + np.uint64(1)])):
            step = steps[state + kinds[text[place]]]
            state, seen, count = step & _STATE, seen | step, count + ((step >> _WORD_SHIFT) & _ONE)
        words += _close(seen | steps[state + _END], count, number, found)
        at = np.uint64(offsets[number + np.uint64(1)])
        state, seen, count = np.uint32(0), np.uint32(0), np.uint64(0)
    return words


@compiled
def _run(text: Any, offsets: Any, kinds: Any, steps: Any, found: Any) -> Any:
    """Four lanes of about as many bytes each; captions are not empty.

    Written out lane by lane: the states must stay in registers, and Numba would keep an array of four in memory.
    """
    one, rows = np.uint64(1), np.uint64(len(offsets) - 1)
    quarter = offsets[-1] // 4
    row0 = np.uint64(0)
    row1 = np.uint64(np.searchsorted(offsets[:-1], 1 * quarter))
    row2 = np.uint64(np.searchsorted(offsets[:-1], 2 * quarter))
    row3 = np.uint64(np.searchsorted(offsets[:-1], 3 * quarter))
    end0, end1, end2, end3 = row1, row2, row3, rows
    at0 = np.uint64(offsets[row0])
    at1 = np.uint64(offsets[row1])
    at2 = np.uint64(offsets[row2])
    at3 = np.uint64(offsets[row3])
    words = np.uint64(0)
    together = min(
        np.uint64(offsets[end0]) - at0,
        np.uint64(offsets[end1]) - at1,
        np.uint64(offsets[end2]) - at2,
        np.uint64(offsets[end3]) - at3,
    )
    last0 = np.uint64(offsets[min(row0 + one, rows)]) - one
    last1 = np.uint64(offsets[min(row1 + one, rows)]) - one
    last2 = np.uint64(offsets[min(row2 + one, rows)]) - one
    last3 = np.uint64(offsets[min(row3 + one, rows)]) - one
    state0 = state1 = state2 = state3 = seen0 = seen1 = seen2 = seen3 = np.uint32(0)
    count0 = count1 = count2 = count3 = np.uint64(0)
    for place in range(together):
        step0 = steps[state0 + kinds[text[at0 + place]]]
        step1 = steps[state1 + kinds[text[at1 + place]]]
        step2 = steps[state2 + kinds[text[at2 + place]]]
        step3 = steps[state3 + kinds[text[at3 + place]]]
        state0, seen0, count0 = step0 & _STATE, seen0 | step0, count0 + ((step0 >> _WORD_SHIFT) & _ONE)
        state1, seen1, count1 = step1 & _STATE, seen1 | step1, count1 + ((step1 >> _WORD_SHIFT) & _ONE)
        state2, seen2, count2 = step2 & _STATE, seen2 | step2, count2 + ((step2 >> _WORD_SHIFT) & _ONE)
        state3, seen3, count3 = step3 & _STATE, seen3 | step3, count3 + ((step3 >> _WORD_SHIFT) & _ONE)
        if at0 + place == last0:
            words += _close(seen0 | steps[state0 + _END], count0, row0, found)
            row0 += one
            last0 = np.uint64(offsets[min(row0 + one, rows)]) - one
            state0, seen0, count0 = np.uint32(0), np.uint32(0), np.uint64(0)
        if at1 + place == last1:
            words += _close(seen1 | steps[state1 + _END], count1, row1, found)
            row1 += one
            last1 = np.uint64(offsets[min(row1 + one, rows)]) - one
            state1, seen1, count1 = np.uint32(0), np.uint32(0), np.uint64(0)
        if at2 + place == last2:
            words += _close(seen2 | steps[state2 + _END], count2, row2, found)
            row2 += one
            last2 = np.uint64(offsets[min(row2 + one, rows)]) - one
            state2, seen2, count2 = np.uint32(0), np.uint32(0), np.uint64(0)
        if at3 + place == last3:
            words += _close(seen3 | steps[state3 + _END], count3, row3, found)
            row3 += one
            last3 = np.uint64(offsets[min(row3 + one, rows)]) - one
            state3, seen3, count3 = np.uint32(0), np.uint32(0), np.uint64(0)
    words += _rest(text, at0 + together, row0, end0, state0, seen0, count0, offsets, kinds, steps, found)
    words += _rest(text, at1 + together, row1, end1, state1, seen1, count1, offsets, kinds, steps, found)
    words += _rest(text, at2 + together, row2, end2, state2, seen2, count2, offsets, kinds, steps, found)
    words += _rest(text, at3 + together, row3, end3, state3, seen3, count3, offsets, kinds, steps, found)
    return words
