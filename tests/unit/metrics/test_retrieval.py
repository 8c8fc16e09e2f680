"""Ranking and recall: counted by hand, and against a ranking that holds all scores at once."""

from __future__ import annotations

from itertools import pairwise, permutations

import numpy as np
import pytest

from negscale.metrics.ranking import rank, top_k
from negscale.metrics.retrieval import chance, expected_hits, expected_ranks, recall_at_k, released_hits

AXES = np.eye(4, dtype=np.float32)


def brute(scores: np.ndarray, positives: list[list[int]], k: int) -> list[float]:
    """Recall at k of each query, averaged over every order of the items that agrees with the scores."""
    found = []
    for row, right in zip(scores, positives, strict=True):
        hits = [
            bool(set(order[:k]) & set(right))
            for order in permutations(range(len(row)))
            if all(row[a] >= row[b] for a, b in pairwise(order))
        ]
        found.append(sum(hits) / len(hits))
    return found


def test_one_positive_by_hand() -> None:
    items = np.array([[3], [2], [2], [1]], np.float32)
    ranks = rank(np.ones((4, 1), np.float32), items, [[0], [1], [2], [3]])
    assert ranks.above.tolist() == [0, 1, 1, 3]
    assert ranks.tied.tolist() == [1, 2, 2, 1]
    assert ranks.before.tolist() == [0, 0, 1, 0]
    assert expected_hits(ranks, 2).tolist() == [1, 0.5, 0.5, 0]
    assert released_hits(ranks, 2).tolist() == [1, 1, 0, 0]
    assert expected_ranks(ranks).tolist() == [1, 2.5, 2.5, 4]
    assert recall_at_k(ranks, 1) == 0.25


def test_images_with_several_captions_count_once_by_hand() -> None:
    captions = np.array([[1], [5], [5], [4], [0]], np.float32)  # image 0 has the captions 0, 2, 3
    ranks = rank(np.ones((1, 1), np.float32), captions, [[0, 2, 3]])
    assert (ranks.above[0], ranks.tied[0], ranks.positives[0], ranks.before[0]) == (0, 2, 1, 1)
    assert expected_hits(ranks, 1)[0] == 0.5
    assert released_hits(ranks, 1)[0] == 0
    assert expected_hits(ranks, 2)[0] == 1


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_expected_hits_are_the_mean_over_all_fair_orders(k: int) -> None:
    rng = np.random.default_rng(k)
    items = rng.integers(0, 2, (6, 2)).astype(np.float32)
    queries = rng.integers(0, 2, (20, 2)).astype(np.float32)
    positives = [sorted(rng.choice(6, rng.integers(1, 4), replace=False).tolist()) for _ in queries]
    ranks = rank(queries, items, positives, query_block=7, item_block=4)
    assert expected_hits(ranks, k) == pytest.approx(brute(queries @ items.T, positives, k))
    order = np.argsort(-(queries @ items.T), axis=1, kind="stable")[:, :k]
    assert released_hits(ranks, k).tolist() == [
        float(bool(set(row) & set(right))) for row, right in zip(order.tolist(), positives, strict=True)
    ]


def test_blocks_do_not_matter_and_ranks_are_those_of_a_full_sort() -> None:
    rng = np.random.default_rng(0)
    items, queries = rng.normal(size=(203, 16)), rng.normal(size=(97, 16))
    positives = [[int(number)] for number in rng.integers(0, 203, 97)]
    whole = rank(queries, items, positives)
    small = rank(queries, items, positives, query_block=10, item_block=9)
    scores = queries.astype(np.float32) @ items.astype(np.float32).T
    place = [(row > row[right[0]]).sum() for row, right in zip(scores, positives, strict=True)]
    assert whole.above.tolist() == small.above.tolist() == place
    numbers, values = top_k(queries, items, 7, query_block=10, item_block=9)
    assert numbers.tolist() == np.argsort(-scores, axis=1, kind="stable")[:, :7].tolist()
    assert values == pytest.approx(np.take_along_axis(scores, numbers, axis=1), abs=1e-5)


def test_a_scorer_without_an_opinion_gets_chance() -> None:
    vector = np.random.default_rng(0).normal(size=33).astype(np.float32)
    same = np.tile(vector, (50, 1))
    images = rank(same, same, [[number] for number in range(50)], query_block=8, item_block=7)
    assert recall_at_k(images, 5) == pytest.approx(5 / 50)
    five = [list(range(5 * n, 5 * n + 5)) for n in range(10)]
    captions = rank(same[:10], same, five)
    assert recall_at_k(captions, 1) == pytest.approx(0.1) == pytest.approx(chance(np.full(10, 5), 50, 1))
    assert released_hits(captions, 5).tolist() == [1] + [0] * 9


def test_equal_vectors_tie_though_their_products_differ() -> None:
    rng = np.random.default_rng(3)
    items = rng.normal(size=(1000, 512)).astype(np.float32)
    items[::7] = items[0]
    queries = rng.normal(size=(40, 512)).astype(np.float32)
    ranks = rank(queries, items, [[7 * n] for n in range(40)], item_block=64)
    assert set(ranks.tied.tolist()) == {143}
    assert ranks.before.tolist() == list(range(40))


def test_missing_queries_and_bad_vectors() -> None:
    queries = AXES.copy()
    queries[2, 0] = np.nan
    ranks = rank(queries, AXES, [[0], [1], [2], []])
    assert ranks.scored.tolist() == [True, True, False, False]
    assert recall_at_k(ranks, 1) == 1
    assert np.isnan(expected_hits(ranks, 1)[2:]).all()
    bad = AXES.copy()
    bad[1] = np.inf
    with pytest.raises(ValueError, match="1 of 4 item vectors are not finite"):
        rank(AXES, bad, [[0]] * 4)
    with pytest.raises(ValueError, match=r"there are 0\.\.3"):
        rank(AXES, AXES, [[4]] * 4)
    with pytest.raises(ValueError, match="positives for each of 4"):
        rank(AXES, AXES, [[0]])
    with pytest.raises(ValueError, match="k >= 1"):
        recall_at_k(ranks, 0)


def test_top_k_of_ties_is_by_number() -> None:
    items = np.array([[1], [2], [2], [2], [0]], np.float32)
    numbers, _ = top_k(np.ones((1, 1), np.float32), items, 2, item_block=2)
    assert numbers.tolist() == [[1, 2]]
    assert top_k(np.ones((1, 1), np.float32), items, 9)[0].tolist() == [[1, 2, 3, 0, 4]]
