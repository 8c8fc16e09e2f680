"""Pools: what the cluster has is never exceeded, scarce stages keep up with the fixed one, the impossible is said."""

from __future__ import annotations

import pytest

from negscale.core.errors import PlanError
from negscale.core.pipeline import Pipeline
from negscale.core.stage import Resources
from negscale.executors.pools import Cluster, plan_pools, shards_per_block
from tests.support import Arithmetic, NumberSource, exploding


def pipeline(*resources: Resources) -> Pipeline:
    steps = tuple(Arithmetic(f"s{i}", f"c{i}", resources=r) for i, r in enumerate(resources))
    return Pipeline("p", NumberSource(10, 5), steps)


def cluster(**has: float) -> Cluster:
    return Cluster(has, has)


def test_cpu_stages_share_workers_and_leave_room_to_read() -> None:
    (pool,) = plan_pools(pipeline(Resources(), Resources(), Resources()), cluster(CPU=2))
    assert pool.names == ("s0", "s1", "s2")
    assert pool.actors == 2
    assert pool.most * pool.cpus + 0.5 <= 2


def test_an_explode_rides_along() -> None:
    (pool,) = plan_pools(exploding(), cluster(CPU=4))
    assert pool.names == ("kids", "explode_kids", "use_kid")


def test_explicit_sizes_give_pools_of_their_own() -> None:
    pools = plan_pools(pipeline(Resources(actors=4), Resources(actors=(1, 3))), cluster(CPU=2))
    assert [p.actors for p in pools] == [4, (1, 3)]
    assert sum(p.least * p.cpus for p in pools) + 0.5 <= 2


def test_gpu_stages_share_what_the_fixed_one_leaves() -> None:
    gpu = {"fakegpu": 1.0}
    slow = Resources(custom=gpu, actors=8, row_ms=16)
    pools = plan_pools(
        pipeline(Resources(custom=gpu, row_ms=4), slow, Resources(custom=gpu, row_ms=4)), cluster(CPU=2, fakegpu=16)
    )
    assert [p.actors for p in pools] == [3, 8, 3], (
        "a quarter of the time needs a quarter of the workers, and a quarter more"
    )
    unknown = plan_pools(pipeline(Resources(custom=gpu), slow, Resources(custom=gpu)), cluster(CPU=2, fakegpu=16))
    assert [p.actors for p in unknown] == [4, 8, 4]
    assert all(p.cpus == 0 for p in pools), "workers on accelerators must not block the read"


def test_cpu_stages_beside_accelerators_do_not_take_every_core() -> None:
    pools = plan_pools(
        pipeline(Resources(gpus=1, actors=3), Resources()), Cluster({"CPU": 72, "GPU": 8}, {"CPU": 36, "GPU": 4})
    )
    assert [p.actors for p in pools] == [3, 6]


def test_what_cannot_be_placed_is_said_at_plan_time() -> None:
    with pytest.raises(PlanError, match=r"'s0' cannot be placed: one worker needs GPU=8.*has 4.*runtime.gpus.s0"):
        plan_pools(pipeline(Resources(gpus=8)), Cluster({"CPU": 64, "GPU": 32}, {"CPU": 8, "GPU": 4}))
    with pytest.raises(PlanError, match="want 5 GPU at the least, the cluster has 4"):
        plan_pools(pipeline(Resources(gpus=1, actors=4), Resources(gpus=1)), cluster(CPU=8, GPU=4))


def test_tiny_shards_travel_together_but_never_so_many_that_workers_idle() -> None:
    pools = plan_pools(pipeline(Resources(actors=4)), cluster(CPU=8))
    assert shards_per_block(50_000, 50_000 * 4, pools) == 64
    assert shards_per_block(1_000, 512_000, pools) == 1
    assert shards_per_block(32, 64, pools) == 2
