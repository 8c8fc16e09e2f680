"""Exact ranking of every query against every item in blocks, with flat memory.

NegBench (arXiv 2501.09425, `benchmarks/src/evaluation/retrieval.py`) holds all scores at once and a one-hot tensor of
queries x k x items beside them. What differs: scores exist for one block of queries and items at a time; what is kept of
an item block is how many of its items beat the query's best positive, how many equal it, and how many of these stand
before it, and such counts add up over blocks, machines and any k. Items with the same vector tie by identity, not by
the luck of the last bit of a matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

QUERY_BLOCK = 1024
ITEM_BLOCK = 4096
_PAIR_BLOCK = 2048
_FEW = 32  # items of one vector that are found one by one


@dataclass(frozen=True, slots=True)
class Ranks:
    """Where the best-scored positive of each of n queries stands. All fields int64[n].

    ``above``: items that score more than it; ``tied``: items that score the same, itself included; ``positives``: how
    many of the tied are positive; ``before``: tied items that are not positive and come before the first tied positive
    in the items' own order. A query that has no finite score, or no positive, has -1 everywhere.
    """

    above: np.ndarray
    tied: np.ndarray
    positives: np.ndarray
    before: np.ndarray

    @property
    def scored(self) -> np.ndarray:
        """bool[n]: queries that have a rank."""
        return self.above >= 0


def rank(
    queries: np.ndarray, items: np.ndarray, positives: Sequence[Sequence[int]], *, query_block: int = QUERY_BLOCK,
    item_block: int = ITEM_BLOCK,
) -> Ranks:  # fmt: skip
    """Rank the best positive of each query among all items by dot product.

    queries: float32[n, d]; items: float32[m, d]; positives: for each query the numbers of its right items.
    Raises ValueError for shapes that do not fit, an item number out of range, or an item vector that is not finite (it
    would lose every comparison and lift the others); a query that is not finite gets -1.
    """
    queries, items = _checked(queries, items)
    if len(positives) != len(queries):
        raise ValueError(f"expected positives for each of {len(queries)} queries, got {len(positives)}")
    pairs = _Pairs.of(positives, len(items))
    usable = _finite(queries) & (pairs.per_query > 0)
    twins = _Twins.of(items)
    best, first, tied, right, before = _best_positives(queries, items, pairs, twins)
    above = np.zeros(len(queries), np.int64)  # comparisons with NaN are false, so an unusable query counts nothing
    for start in range(0, len(queries), query_block):
        rows = slice(start, min(start + query_block, len(queries)))
        floor = best[rows, None]
        for left in range(0, len(items), item_block):
            scores = queries[rows] @ items[left : left + item_block].T
            pairs.blank(scores, twins, rows, left)  # a positive and its twins were counted by identity
            more = np.count_nonzero(scores > floor, axis=1)
            same = np.count_nonzero(scores >= floor, axis=1) - more
            above[rows] += more
            tied[rows] += same
            for row in np.flatnonzero(same):
                columns = left + np.flatnonzero(scores[row] == best[start + row])
                before[start + row] += np.count_nonzero(columns < first[start + row])
    fields = (above, tied, right, before)
    for field in fields:
        field[~usable] = -1
    return Ranks(*fields)


def top_k(
    queries: np.ndarray, items: np.ndarray, k: int, *, query_block: int = QUERY_BLOCK, item_block: int = ITEM_BLOCK
) -> tuple[np.ndarray, np.ndarray]:
    """(int64[n, k] item numbers, float32[n, k] scores) of each query's best items, best first; equal scores by number.

    Item blocks are merged one after another: a query holds k candidates, never all scores. k is cut at the number of
    items. Raises ValueError as `rank` does, and for k < 1.
    """
    queries, items = _checked(queries, items)
    if k < 1:
        raise ValueError(f"expected k >= 1, got {k}")
    k = min(k, len(items))
    numbers, values = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    for start in range(0, len(queries), query_block):
        rows = slice(start, min(start + query_block, len(queries)))
        size = rows.stop - rows.start
        held_numbers, held = np.empty((size, 0), np.int64), np.empty((size, 0), np.float32)
        for left in range(0, len(items), item_block):
            scores = queries[rows] @ items[left : left + item_block].T
            chosen = _largest(scores, k)
            found = np.take_along_axis(scores, chosen, axis=1)
            held_numbers, held = np.hstack([held_numbers, left + chosen]), np.hstack([held, found])
            kept = _largest(held, k)
            held_numbers = np.take_along_axis(held_numbers, kept, axis=1)
            held = np.take_along_axis(held, kept, axis=1)
        numbers[rows], values[rows] = held_numbers, held
    return numbers, values


def _largest(scores: np.ndarray, k: int) -> np.ndarray:
    """int64[n, <= k]: columns of the k largest values, largest first, equal values by column."""
    if scores.shape[1] <= k:
        return np.argsort(-scores, axis=1, kind="stable")
    edge = np.partition(scores, -k, axis=1)[:, -k]
    found = np.empty((len(scores), k), np.int64)
    at_least = scores >= edge[:, None]
    exact = np.count_nonzero(at_least, axis=1) == k
    if exact.any():
        columns = np.nonzero(at_least[exact])[1].reshape(-1, k)
        values = np.take_along_axis(scores[exact], columns, axis=1)
        found[exact] = np.take_along_axis(columns, np.argsort(-values, axis=1, kind="stable"), axis=1)
    for row in np.flatnonzero(~exact):  # more items tie at the edge than fit
        found[row] = np.argsort(-scores[row], kind="stable")[:k]
    return found


def _checked(queries: np.ndarray, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    queries, items = np.asarray(queries, np.float32), np.asarray(items, np.float32)
    if queries.ndim != 2 or items.ndim != 2 or queries.shape[1] != items.shape[1]:
        raise ValueError(f"expected float32[n, d] and float32[m, d], got {queries.shape} and {items.shape}")
    if not len(items):
        raise ValueError("there are no items to rank")
    if bad := int((~_finite(items)).sum()):
        raise ValueError(f"{bad} of {len(items)} item vectors are not finite; leave them and their queries out")
    return queries, items


def _distinct(first: np.ndarray, second: np.ndarray, seconds: int) -> tuple[np.ndarray, np.ndarray]:
    """The distinct pairs, sorted. second: int64 of 0..seconds-1. One number a pair sorts in a fraction of `axis=1`'s memory."""
    keys = np.unique(first * seconds + second)
    return keys // seconds, keys % seconds


def _finite(vectors: np.ndarray) -> np.ndarray:
    """bool[n]: rows whose numbers are all finite; in blocks, as one mask of all would be a quarter of the vectors' size."""
    blocks = range(0, len(vectors), ITEM_BLOCK)
    return np.concatenate([
        np.zeros(0, bool), *(np.isfinite(vectors[at : at + ITEM_BLOCK]).all(axis=1) for at in blocks)
    ])  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Pairs:
    """All (query, positive item) pairs, by query."""

    query: np.ndarray
    item: np.ndarray
    per_query: np.ndarray

    @classmethod
    def of(cls, positives: Sequence[Sequence[int]], items: int) -> _Pairs:
        per_query = np.array([len(found) for found in positives], np.int64)
        item = np.array([number for found in positives for number in found], np.int64)
        if len(item) and not (item.min() >= 0 and item.max() < items):
            raise ValueError(f"positives name items {item.min()}..{item.max()}; there are 0..{items - 1}")
        query, item = _distinct(np.repeat(np.arange(len(per_query)), per_query), item, items)
        return cls(query, item, np.bincount(query, minlength=len(per_query)))

    def blank(self, scores: np.ndarray, twins: _Twins, rows: slice, left: int) -> None:
        """Set to -inf the scores of these rows' positives and of items with their vectors. scores: items from `left` on."""
        low, high = np.searchsorted(self.query, [rows.start, rows.stop])
        row, group = self.query[low:high] - rows.start, twins.group[self.item[low:high]]
        start, end = twins.between(group, left, left + scores.shape[1])
        few = end - start <= _FEW
        sizes = (end - start)[few]
        offsets = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        scores[np.repeat(row[few], sizes), twins.members[np.repeat(start[few], sizes) + offsets] - left] = -np.inf
        for many in np.unique(group[~few]).tolist():
            chosen = group == many
            at = int(np.argmax(chosen))
            scores[np.ix_(row[chosen], twins.members[start[at] : end[at]] - left)] = -np.inf


@dataclass(frozen=True, slots=True)
class _Twins:
    """Items grouped by their vector: members[starts[g]:ends[g]] are the items of group g, in order.

    keys: of each member its group, then itself, as one number that grows.
    """

    group: np.ndarray
    members: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    keys: np.ndarray

    @classmethod
    def of(cls, items: np.ndarray) -> _Twins:
        digests = bytearray()
        for start in range(0, len(items), ITEM_BLOCK):  # in blocks: a copy of all would be as large as the vectors
            for row in np.ascontiguousarray(items[start : start + ITEM_BLOCK] + np.float32(0)):  # -0.0 is 0.0
                digests += blake2b(row, digest_size=16).digest()
        group = np.unique(np.frombuffer(digests, "S16"), return_inverse=True)[1]
        members = np.argsort(group, kind="stable")
        ends = np.cumsum(np.bincount(group))
        return cls(group, members, np.concatenate([[0], ends[:-1]]), ends, group[members] * len(members) + members)

    def between(self, groups: np.ndarray, left: int, right: int) -> tuple[np.ndarray, np.ndarray]:
        """Bounds in `members` of the items left..right-1 of each group."""
        size = len(self.members)
        bounds = (groups * size + left, groups * size + min(right, size))
        return np.searchsorted(self.keys, bounds[0]), np.searchsorted(self.keys, bounds[1])


def _best_positives(
    queries: np.ndarray, items: np.ndarray, pairs: _Pairs, twins: _Twins
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """best score, first item that has it, items tied with it by identity, positives among them, others before it."""
    n = len(queries)
    best, first = np.full(n, -np.inf, np.float32), np.zeros(n, np.int64)
    tied, right, before = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int64)
    scores = np.empty(len(pairs.query), np.float32)
    for start in range(0, len(scores), _PAIR_BLOCK):
        part = slice(start, start + _PAIR_BLOCK)
        vectors = items[twins.members[twins.starts[twins.group[pairs.item[part]]]]]
        scores[part] = np.einsum("ij,ij->i", queries[pairs.query[part]], vectors)
    np.fmax.at(best, pairs.query, scores)
    top = scores == best[pairs.query]
    query, item = pairs.query[top], pairs.item[top]
    np.add.at(right, query, 1)
    starts = np.flatnonzero(np.concatenate([[True], query[1:] != query[:-1]])) if len(query) else query
    first[query[starts]] = item[starts]  # pairs are sorted, so the lowest number comes first
    groups = np.stack(_distinct(query, twins.group[item], len(items)))
    np.add.at(tied, groups[0], twins.ends[groups[1]] - twins.starts[groups[1]])
    for q, g in groups[:, tied[groups[0]] > right[groups[0]]].T:  # some tied item is not positive
        members = twins.members[twins.starts[g] : twins.ends[g]]
        mine = pairs.item[slice(*np.searchsorted(pairs.query, [q, q + 1]))]
        before[q] += np.count_nonzero((members < first[q]) & ~np.isin(members, mine))
    return best, first, tied, right, before
