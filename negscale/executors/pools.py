"""Which workers a run gets: operators, pool sizes and shares, from the stages' wishes and what the cluster has.

Pure arithmetic, no Ray: `negscale plan` prints the same answer that the Ray executor uses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from negscale.core.errors import PlanError
from negscale.core.explode import Explode
from negscale.core.pipeline import Pipeline, Step
from negscale.core.stage import Resources, Stage

IO_CPUS = 0.25  # what a read or commit task holds: they wait for storage most of the time
SLACK = 1.25  # pools beside the bottleneck get this much more than they need: exact balance starves the next stage
ROWS_PER_BLOCK = 256  # tiny shards travel together, so that the control plane costs little a shard


@dataclass(frozen=True, slots=True)
class Cluster:
    """Total resources, as Ray names them: CPU, GPU, memory (bytes), custom names."""

    resources: Mapping[str, float]
    largest_node: Mapping[str, float]  # per resource, the most that one node has

    @property
    def cpus(self) -> float:
        return self.resources.get("CPU", 0.0)


@dataclass(frozen=True, slots=True)
class Pool:
    """One operator: consecutive steps run by the same workers."""

    steps: tuple[int, ...]
    names: tuple[str, ...]
    actors: int | tuple[int, int]
    cpus: float
    gpus: float = 0.0
    memory_gb: float = 0.0
    custom: Mapping[str, float] = field(default_factory=dict)
    calls: int = 1

    @property
    def most(self) -> int:
        """Workers at the most."""
        return self.actors if isinstance(self.actors, int) else self.actors[1]

    @property
    def least(self) -> int:
        """Workers from the start."""
        return self.actors if isinstance(self.actors, int) else self.actors[0]


def plan_pools(pipeline: Pipeline, cluster: Cluster) -> list[Pool]:
    """Operators with their pools. Raises PlanError when a stage cannot be placed, saying what is missing.

    Neighbouring CPU stages without an explicit size share workers: nothing travels between them, and no split of the
    cores can be wrong. Stages on accelerators get a pool each: those with a fixed size first, the others share what is
    left, in proportion to their expected time a row (equal shares when unknown), never more than they can use.
    """
    groups = _group(pipeline.steps)
    wishes = [_wish(pipeline.steps, group) for group in groups]
    for group, wish in zip(groups, wishes, strict=True):
        _check_placeable(pipeline.steps[group[-1]].name, wish, cluster)
    sizes = _sizes(groups, wishes, cluster)
    pools = [
        Pool(
            steps=tuple(group), names=tuple(pipeline.steps[i].name for i in group), actors=size, cpus=wish.cpus,
            gpus=wish.gpus, memory_gb=wish.memory_gb, custom=dict(wish.custom or {}), calls=wish.calls,
        )
        for group, wish, size in zip(groups, wishes, sizes, strict=True)
    ]  # fmt: skip
    return _fit_cpus(pools, cluster)


def shards_per_block(shards: int, rows: int, pools: Sequence[Pool]) -> int:
    """How many shards travel together: 1 for shards of ordinary size, more for tiny ones, never so many that workers idle."""
    if shards == 0:
        return 1
    by_rows = max(1, round(ROWS_PER_BLOCK / max(1.0, rows / shards)))
    by_workers = max(1, shards // (4 * max(1, sum(pool.most for pool in pools))))
    return min(by_rows, by_workers)


def _group(steps: Sequence[Step]) -> list[list[int]]:
    groups: list[list[int]] = []
    for i, step in enumerate(steps):
        last = [steps[j] for j in groups[-1]] if groups else []
        # an Explode is pure Arrow: it rides with whatever comes before it, or with the first stage
        rides = isinstance(step, Explode) or all(isinstance(other, Explode) for other in last)
        if last and (rides or all(_fusible(other) for other in [*last, step])):
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def _fusible(step: Step) -> bool:
    if isinstance(step, Explode):
        return True
    wish = step.resources
    return wish.gpus == 0 and not wish.custom and wish.actors is None and wish.calls == 1


def _wish(steps: Sequence[Step], group: Sequence[int]) -> Resources:
    stages = [step for i in group if isinstance(step := steps[i], Stage)]
    if not stages:
        return Resources()
    first = stages[0].resources
    if len(stages) == 1:
        return first
    return Resources(
        cpus=max(s.resources.cpus for s in stages), memory_gb=sum(s.resources.memory_gb for s in stages),
        row_ms=sum(s.resources.row_ms or 0.0 for s in stages) or None,
    )  # fmt: skip


def _check_placeable(name: str, wish: Resources, cluster: Cluster) -> None:
    needs = {"CPU": wish.cpus, "GPU": wish.gpus, "memory": wish.memory_gb * 1e9, **(wish.custom or {})}
    for resource, amount in needs.items():
        has = cluster.largest_node.get(resource, 0.0)
        if amount > has and not (resource == "CPU" and wish.gpus == 0 and not wish.custom):
            raise PlanError(
                f"stage {name!r} cannot be placed: one worker needs {resource}={amount:g}, the largest node of this cluster has "
                f"{has:g}. Add such a node, or lower it with runtime.gpus.{name} / runtime.custom_resources.{name}."
            )


def _scarce(wish: Resources) -> str | None:
    if wish.gpus:
        return "GPU"
    return next(iter(wish.custom), None) if wish.custom else None


def _amount(wish: Resources, resource: str) -> float:
    return wish.gpus if resource == "GPU" else dict(wish.custom or {}).get(resource, 0.0)


def _sizes(
    groups: Sequence[Sequence[int]], wishes: Sequence[Resources], cluster: Cluster
) -> list[int | tuple[int, int]]:
    sizes: list[int | tuple[int, int] | None] = [wish.actors for wish in wishes]
    for resource in dict.fromkeys(r for wish in wishes if (r := _scarce(wish))):
        users = [i for i, wish in enumerate(wishes) if _amount(wish, resource)]
        total = cluster.resources.get(resource, 0.0)
        taken = sum(_least(size) * _amount(wishes[i], resource) for i in users if (size := sizes[i]) is not None)
        open_ = [i for i in users if sizes[i] is None]
        floor = sum(_amount(wishes[i], resource) for i in open_)
        if taken + floor > total + 1e-9:
            raise PlanError(
                f"the stages want {taken + floor:g} {resource} at the least, the cluster has {total:g}: lower runtime.actors "
                f"or add nodes"
            )
        _share(open_, [i for i in users if sizes[i] is not None], sizes, wishes, resource, total - taken)
    cpu_open = [i for i, size in enumerate(sizes) if size is None]
    scarce = sum(_most(size) for size, wish in zip(sizes, wishes, strict=True) if _scarce(wish))
    for i in cpu_open:
        # CPU pools share the cores; `_fit_cpus` makes them fit. Beside accelerators two workers for each of theirs
        # are plenty: a process for every core of a large node would only hold memory
        by_cores = max(1, math.floor(cluster.cpus / len(cpu_open) / max(wishes[i].cpus, 0.01) + 1e-9))
        sizes[i] = min(by_cores, 2 * scarce) if scarce else by_cores
    return [size for size in sizes if size is not None]


def _share(
    open_: Sequence[int], fixed: Sequence[int], sizes: list[int | tuple[int, int] | None], wishes: Sequence[Resources],
    resource: str, left: float,
) -> None:  # fmt: skip
    """Divide what is `left` of a scarce resource among the stages without a size."""
    times = {i: wishes[i].row_ms for i in [*open_, *fixed]}
    known = all(times.values())
    for i in sorted(open_):
        share = (times[i] or 1.0) / sum((times[j] or 1.0) if known else 1.0 for j in open_) if known else 1 / len(open_)
        most = max(1, math.floor(left * share / _amount(wishes[i], resource) + 1e-9))
        if known and fixed:
            # the slowest fixed pool sets the pace; more workers than keep up with it would idle
            pace = min(_most(sizes[j]) / (times[j] or 1.0) for j in fixed)
            most = min(most, max(1, math.ceil(SLACK * pace * (times[i] or 1.0))))
        sizes[i] = most


def _least(size: int | tuple[int, int]) -> int:
    return size if isinstance(size, int) else size[0]


def _most(size: int | tuple[int, int] | None) -> int:
    return 1 if size is None else size if isinstance(size, int) else size[1]


def _fit_cpus(pools: Sequence[Pool], cluster: Cluster) -> list[Pool]:
    """Scale the CPU claims so that all workers and the read and commit tasks can start at the same time.

    Workers on accelerators claim no CPU (their host threads are the accelerator's business): otherwise pools could take
    every core and block the read (ray#44687). CPU pools keep their number and claim a fraction each when cores are few.
    """
    spare = max(cluster.cpus - 2 * IO_CPUS, cluster.cpus * 0.5)
    claims = sum(pool.least * pool.cpus for pool in pools if not pool.gpus and not pool.custom)
    factor = min(1.0, spare / claims) if claims else 1.0
    return [
        Pool(
            pool.steps, pool.names, pool.actors, 0.0 if pool.gpus or pool.custom else math.floor(pool.cpus * factor * 1e4) / 1e4,
            pool.gpus, pool.memory_gb, pool.custom, pool.calls,
        )
        for pool in pools
    ]  # fmt: skip
