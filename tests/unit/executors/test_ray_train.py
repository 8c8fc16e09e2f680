"""Where the workers of a training fit; the arithmetic needs no cluster."""

from __future__ import annotations

import pytest

from negscale.core.errors import ConfigError, FatalError, NegscaleError, PlanError
from negscale.executors.pools import Cluster
from negscale.executors.ray_train import Workers, _named, _our_error, check_placeable, spare_worker

CLUSTER = Cluster({"CPU": 12.0, "GPU": 4.0, "spot": 2.0}, {"CPU": 6.0, "GPU": 2.0, "spot": 1.0})


@pytest.mark.parametrize(
    ("workers", "message"),
    [
        (Workers(2, cpus=8), r"needs CPU=8, the largest node of this cluster has 6.*runtime\.ray\.cpus"),
        (Workers(5, gpus=1), r"5 training workers need GPU=5, this cluster has 4.*runtime\.ray\.workers"),
        (Workers(2, gpus=4), r"needs GPU=4, the largest node"),
        (Workers(1, resources={"tpu": 1}), r"needs tpu=1.*runtime\.ray\.resources\.tpu"),
        (Workers((3, 8), resources={"spot": 1}), r"3 training workers need spot=3"),
    ],
)
def test_what_does_not_fit_is_said(workers: Workers, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        check_placeable(workers, CLUSTER)


def test_what_fits_is_taken() -> None:
    check_placeable(Workers((2, 64), cpus=6, gpus=1), CLUSTER)
    check_placeable(Workers(12), CLUSTER)


def test_validation_gets_what_the_largest_group_leaves() -> None:
    assert spare_worker(Workers(11), CLUSTER) == {"num_cpus": 1}
    assert spare_worker(Workers(12), CLUSTER) is None
    assert spare_worker(Workers((1, 12)), CLUSTER) is None  # the group may grow into it
    assert spare_worker(Workers(3, gpus=1), CLUSTER) == {"num_cpus": 1, "num_gpus": 1}
    assert spare_worker(Workers(4, gpus=1), CLUSTER) == {"num_cpus": 1}


def test_errors_keep_their_class_on_the_way() -> None:
    from ray.train import WorkerGroupError

    assert type(_named("ConfigError", "x")) is ConfigError
    assert type(_named("LossError", "x")) is NegscaleError  # defined elsewhere
    assert type(_named("annotations", "x")) is NegscaleError
    wrapped = RuntimeError("outer")
    wrapped.__cause__ = PlanError("the run is not finished")
    found = _our_error(WorkerGroupError("two died", {1: ConnectionError("reset"), 3: wrapped}))
    assert (type(found), str(found)) == (PlanError, "the run is not finished")
    lost = _our_error(WorkerGroupError("two died", {1: ConnectionError("reset")}))
    assert isinstance(lost, FatalError)
    assert "run the same command again" in str(lost)
