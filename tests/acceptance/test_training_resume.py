"""Promise: a training goes on as if nothing had happened, with the same number of workers to the bit, with another to 1e-5."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.acceptance import trainings
from tests.acceptance.verdict import verdict
from tests.unit.training.made_runs import run_workers

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(3000)]

HAS_DEEPSPEED = importlib.util.find_spec("deepspeed") is not None
ENGINES = ["torch", "zero2"] if HAS_DEEPSPEED else ["torch"]
# name -> precision, engine of 4, of 2 and of 3 workers
CHAINS = {"ddp": ("float64", ("torch", "torch", "torch"))}
CHAINS |= {"ddp_float32": ("float32", ("torch", "torch", "torch"))}
if HAS_DEEPSPEED:
    CHAINS["zero2_ddp_zero1"] = ("float32", ("zero2", "torch", "zero1"))
DEFECTS = ("optimiser", "cursor", "order")
KILLS = (28, 53)

SAME = """
    import json
    from tests.acceptance.trainings import config, train_until
    root, run, engines = arguments[0], arguments[1], json.loads(arguments[2])
    for engine in engines:
        train_until(config(run, f"{root}/straight-{engine}", engine))
        broken = config(run, f"{root}/broken-{engine}", engine)
        for kill in (13, 41, None):
            train_until(broken, kill)
            dist.barrier()
"""

CHAIN = """
    import json
    from tests.acceptance.trainings import config, copy_training, damage, redrawn, train_until
    root, run, chains, kills = arguments[0], arguments[1], json.loads(arguments[2]), json.loads(arguments[3])
    place = {4: 0, 2: 1, 3: 2}[size]
    for name, (precision, engines) in chains.items():
        made = config(run, f"{root}/{name}", engines[place], precision)
        if size == 4:
            train_until(config(run, f"{root}/{name}-straight", engines[0], precision))
        if size == 3 and name == "ddp":
            for defect in ("optimiser", "cursor", "order"):
                other = config(run, f"{root}/{name}-{defect}", engines[place], precision)
                if rank == 0:
                    copy_training(f"{root}/{name}", f"{root}/{name}-{defect}")
                    damage(other, defect)
                dist.barrier()
                undo = redrawn() if defect == "order" else None
                train_until(other)
                if undo is not None:
                    undo()
                dist.barrier()
        train_until(made, kills[place] if place < 2 else None)
        dist.barrier()
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    return trainings.rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def same(run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import json

    root = tmp_path_factory.mktemp("same")
    run_workers(2, SAME, str(root), run, json.dumps(ENGINES), limit_s=1500)
    return root


@pytest.fixture(scope="module")
def chained(run: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import json

    root = tmp_path_factory.mktemp("chain")
    for size in (4, 2, 3):
        run_workers(size, CHAIN, str(root), run, json.dumps(CHAINS), json.dumps(KILLS), limit_s=1500)
    return root


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_number_of_workers_resumes_to_the_bit(same: Path, run: str, engine: str) -> None:
    straight, broken = (trainings.config(run, same / f"{kind}-{engine}", engine) for kind in ("straight", "broken"))
    expected = trainings.final(straight)
    differing = trainings.unequal(trainings.final(broken), expected)
    losses = trainings.losses(broken)
    verdict(
        f"{engine}: 2 workers killed twice end with the parameters and optimiser state of the uninterrupted run, bit for bit",
        differing == 0 and len(losses) == trainings.STEPS and trainings.losses(straight) == losses,
        tensors=len(expected), differing=differing, steps=len(losses), killed_after=(13, 41), loss_first=losses[0],
        loss_last=losses[-1],
    )  # fmt: skip


@pytest.mark.parametrize("name", CHAINS)
def test_four_then_two_then_three_workers(chained: Path, run: str, name: str) -> None:
    precision, engines = CHAINS[name]
    straight = trainings.config(run, chained / f"{name}-straight", engines[0], precision)
    expected = trainings.final(straight)
    found = trainings.final(trainings.config(run, chained / name, engines[2], precision))
    losses = trainings.losses(straight)
    first, last = sum(losses[:4]) / 4, sum(losses[-4:]) / 4
    relative = trainings.distance(found, expected)
    verdict(
        f"{name}: 4, then 2, then 3 workers end where 4 workers alone end, within 1e-5",
        relative < 1e-5 and len(losses) >= 50 and last <= first / 2,
        relative=relative, precision=precision, engines="/".join(engines), steps=len(losses), killed_after=KILLS,
        loss_first_epoch=first, loss_last_epoch=last,
    )  # fmt: skip


@pytest.mark.parametrize("defect", DEFECTS)
def test_what_a_bad_resume_would_do_is_seen(chained: Path, run: str, defect: str) -> None:
    precision, engines = CHAINS["ddp"]
    expected = trainings.final(trainings.config(run, chained / "ddp-straight", engines[0], precision))
    found = trainings.final(trainings.config(run, chained / f"ddp-{defect}", engines[2], precision))
    relative = trainings.distance(found, expected)
    verdict(
        f"a resume that loses the {defect} fails the comparison of 1e-5", relative > 1e-4, relative=relative, limit=1e-5
    )
