"""Ranking: the place of every query's right items among all, against one matrix product with its top k; its memory.

The product holds all scores at once, 40 GB for 100,000 x 100,000; ranking goes by blocks. Vectors are drawn, the right item
of a query near it. Memory is the peak beside the vectors, counted from the begin of ranking.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from tests.bench.legs import Figures, peak_rss_mb
from tests.bench.report import Bench, spread

WIDTH, K = 512, 10
RANK_TARGET, FLAT = 1.2, 1.5


def measure(bench: Bench) -> None:
    """Speed of three repeats, then memory of two sizes, in turn."""
    queries, items = bench.by_size((2_500, 500), (25_000, 5_000), (25_000, 5_000))
    repeats = bench.by_size(1, 3, 5)
    bench.baseline = f"torch: one matrix product of all scores, and its top {K}"
    bench.config = {"width": WIDTH, "queries": queries, "items": items}
    legs = [bench.leg(rank_leg, queries=queries, items=items, repeat=n) for n in range(repeats)]
    ours, base = (spread([leg[name] for leg in legs]) for name in ("rank_s", "matmul_s"))
    bench.figures["ranking"] = {"queries": queries, "items": items, "rank_s": ours, "matmul_topk_s": base}
    bench.row(
        f"ranking {queries:,} x {items:,}", f"{ours['median']:.2f} s; one product and top-{K} {base['median']:.2f} s"
    )
    bench.target("ranking over one product and top-k", ours["median"] / base["median"], RANK_TARGET, "at_most")
    small, large = bench.by_size((2_500, 10_000), (25_000, 100_000), (25_000, 100_000))
    found: dict[int, list[Figures]] = {small: [], large: []}
    for repeat in range(repeats):
        for n, measured in found.items():
            measured.append(bench.leg(memory_leg, 7200, size=n, repeat=repeat))
    extra = {n: spread([leg["extra_mb"] for leg in measured]) for n, measured in found.items()}
    for n, measured in found.items():
        seconds = spread([leg["rank_s"] for leg in measured])
        bench.figures[f"memory_{n}"] = {"extra_mb": extra[n], "rank_s": seconds, "all_scores_mb": 4 * n * n / 1e6}
        shown = f"{extra[n]['median']:.0f} MB beside the vectors (min {extra[n]['min']:.0f}, max {extra[n]['max']:.0f})"
        bench.row(f"ranking {n:,} x {n:,}", f"{shown}; all scores {4 * n * n / 1e6:,.0f} MB; {seconds['median']:.1f} s")
    grown = extra[large]["median"] / max(extra[small]["median"], 1.0)
    bench.target(f"memory beside the vectors, {large:,} over {small:,} squared", grown, FLAT, "at_most")


def rank_leg(queries: int, items: int, work: str) -> Figures:
    """Exact places of each query's right item; one product and its k best as the released code does."""
    import numpy as np
    import torch

    from negscale.metrics.ranking import rank

    words, images, right = _drawn(queries, items)
    rank(words[:64], images, right[:64])
    begun = time.perf_counter()
    found = rank(words, images, right)
    rank_s = time.perf_counter() - begun
    a, b = torch.from_numpy(words), torch.from_numpy(images)
    torch.topk(a[:64] @ b.T, K)
    begun = time.perf_counter()
    best = torch.topk(a @ b.T, K)[1].numpy()
    hits = float(np.mean([row[0] in top for row, top in zip(right, best, strict=True)]))
    matmul_s = time.perf_counter() - begun
    mine = float(((found.above + found.before) < K).mean())
    assert abs(mine - hits) < 1e-3, (mine, hits)
    return {"rank_s": rank_s, "matmul_s": matmul_s, "recall": mine}


def memory_leg(size: int, work: str) -> Figures:
    """Peak memory of ranking size x size, without the vectors."""
    from negscale.metrics.ranking import rank

    words, images, right = _drawn(size, size)
    rank(words[:64], images[:64], [[n] for n in range(64)])
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here: drawing the vectors took memory too
    before = peak_rss_mb()
    begun = time.perf_counter()
    rank(words, images, right)
    return {"rank_s": time.perf_counter() - begun, "extra_mb": peak_rss_mb() - before, "before_mb": before}


def _drawn(queries: int, items: int) -> tuple[Any, Any, list[list[int]]]:
    """Unit vectors; the right item of query n is n modulo the items, and near it."""
    import numpy as np

    rng = np.random.default_rng(0)
    images = rng.standard_normal((items, WIDTH), dtype=np.float32)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    right = [[n % items] for n in range(queries)]
    words = images[[row[0] for row in right]] + 0.15 * rng.standard_normal((queries, WIDTH), dtype=np.float32)
    words /= np.linalg.norm(words, axis=1, keepdims=True)
    return words, images, right
