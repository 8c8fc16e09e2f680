"""Ray Train: the train function that also runs without Ray, on elastic workers that may die or be taken away.

A worker that dies restarts the group at the size that the cluster then allows, and the function goes on from the newest
checkpoint in the training's own folder. That folder is all that counts: a killed driver, another cluster and another number of
workers resume by the same command. What differs from Ray's guides: nothing goes through `ray.train.get_checkpoint`, whose
checkpoints belong to one experiment folder of Ray's, and an error of negscale's own is not tried again twenty times.
"""

from __future__ import annotations

import json
import math
import os
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import ray
import ray.train
from ray.train import (
    Checkpoint,
    CheckpointConfig,
    FailureConfig,
    LoggingConfig,
    RunConfig,
    ScalingConfig,
    TrainingFailedError,
    UserCallback,
    ValidationConfig,
    ValidationTaskConfig,
    WorkerGroupError,
)
from ray.train.collective import broadcast_from_rank_zero
from ray.train.torch import TorchConfig, TorchTrainer

from negscale.core import errors
from negscale.core.errors import FatalError, NegscaleError, PlanError
from negscale.core.runtime import RuntimeConfig
from negscale.executors.pools import Cluster
from negscale.executors.ray_session import cluster_of, ray_session
from negscale.storage.folder import open_folder

_POLL_S = 2.0
_REPORT_S = 5.0
_VALIDATION_LIMIT_S = 3600.0


class Progress(Protocol):
    """What the train function tells after every step."""

    @property
    def step(self) -> int: ...
    @property
    def epoch(self) -> int: ...
    @property
    def metrics(self) -> Mapping[str, float]: ...
    @property
    def epoch_ends(self) -> bool: ...


Watch = Callable[[Any], bool]
Train = Callable[[Watch, bool], Any]  # (watch, validate here) -> what `run` returns; must be picklable
Validate = Callable[[int], dict[str, float]]  # step -> figures
Figures = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Workers:
    """What the workers need and how often they may be lost."""

    number: int | tuple[int, int] = 1  # or (min, max)
    cpus: int = 1
    gpus: float = 0.0
    resources: Mapping[str, float] = field(default_factory=dict)
    wait_for_nodes_s: float = 0.0
    resize_every_s: float = 60.0
    max_failures: int = 20
    preemption_grace_s: float = 30.0
    timeout_s: int = 1800

    @property
    def least(self) -> int:
        """Workers without which nothing starts."""
        return self.number if isinstance(self.number, int) else self.number[0]

    @property
    def most(self) -> int:
        """Workers at the most."""
        return self.number if isinstance(self.number, int) else self.number[1]

    @property
    def each(self) -> dict[str, float]:
        """Resources of one worker, as Ray names them."""
        needs = {"CPU": float(self.cpus), "GPU": self.gpus, **self.resources}
        return {name: amount for name, amount in needs.items() if amount}


@dataclass(frozen=True, slots=True)
class Training:
    """A training to run: what, where its files lie, on how many workers."""

    folder: str
    train: Train
    workers: Workers = Workers()
    validate: Validate | None = None  # where it is there, a spare worker runs it after every epoch
    on_report: Figures | None = None  # told {step, epoch, figures...} every few seconds, beside Ray's controller
    report_every: int = 10


def run(training: Training, runtime: RuntimeConfig) -> Any:
    """Train to the end on the cluster that `runtime` names; returns what the train function returned on rank 0.

    Raises PlanError when the cluster cannot place the workers, the train function's own NegscaleError, FatalError when
    workers were lost too often.
    """
    with ray_session(runtime):
        cluster = _placed(training.workers, time.monotonic() + training.workers.wait_for_nodes_s)
        spare = spare_worker(training.workers, cluster) if training.validate is not None else None
        result = _fit(_trainer(training, spare))
    if result is None:
        raise FatalError("the training was stopped; its checkpoints are kept, run the same command again to go on")
    if "error" in result:
        raise _named(result["error"]["kind"], result["error"]["message"])
    return result["returned"]


def check_placeable(workers: Workers, cluster: Cluster) -> None:
    """Raise PlanError when the smallest group of workers does not fit into the cluster."""
    for name, amount in workers.each.items():
        largest, total = cluster.largest_node.get(name, 0.0), cluster.resources.get(name, 0.0)
        if amount > largest:
            raise PlanError(
                f"a training worker needs {name}={amount:g}, the largest node of this cluster has {largest:g}: add such a node "
                f"(runtime.ray.wait_for_nodes_s lets an autoscaler bring it), or lower runtime.ray.{_key(name)}"
            )
        if workers.least * amount > total + 1e-9:
            raise PlanError(
                f"{workers.least} training workers need {name}={workers.least * amount:g}, this cluster has {total:g}: lower "
                f"runtime.ray.workers (or its minimum), or let an autoscaler bring nodes with runtime.ray.wait_for_nodes_s"
            )


def spare_worker(workers: Workers, cluster: Cluster) -> dict[str, float] | None:
    """Ray's arguments of a validation task beside the largest group of workers; None where there is no room for one."""
    left = {
        name: cluster.resources.get(name, 0.0) - workers.most * workers.each.get(name, 0.0) for name in ("CPU", "GPU")
    }
    if workers.gpus and left["GPU"] >= 1 and left["CPU"] >= 1:
        return {"num_cpus": 1, "num_gpus": 1}
    if left["CPU"] >= max(1, workers.cpus):
        return {"num_cpus": max(1, workers.cpus)}
    return None


def _key(resource: str) -> str:
    return {"CPU": "cpus", "GPU": "gpus"}.get(resource, f"resources.{resource}")


def _placed(workers: Workers, deadline: float) -> Cluster:
    """The cluster once the smallest group fits. Asks the autoscaler for it while there is time."""
    asked = False
    while True:
        cluster = cluster_of()
        try:
            check_placeable(workers, cluster)
            return cluster
        except PlanError:
            if time.monotonic() >= deadline:
                raise
        if not asked:
            from ray.autoscaler.sdk import request_resources

            request_resources(bundles=[dict(workers.each)] * workers.most)
            asked = True
        time.sleep(_POLL_S)


def _trainer(training: Training, spare: dict[str, float] | None) -> TorchTrainer:
    workers = training.workers
    incarnation = f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"  # Ray's own records are never read again
    validation = None
    if spare is not None and training.validate is not None:
        validation = ValidationConfig(
            partial(_validate, validate=training.validate, cwd=os.getcwd()),
            ValidationTaskConfig(timeout_s=_VALIDATION_LIMIT_S), {**spare, "max_retries": 2},
        )  # fmt: skip
    reports: list[Any] = [] if training.on_report is None else [_Reports(training.on_report)]
    return TorchTrainer(
        partial(_work, training=training, incarnation=incarnation, spare=spare is not None, cwd=os.getcwd()),
        torch_config=TorchConfig(timeout_s=workers.timeout_s),
        scaling_config=ScalingConfig(
            num_workers=workers.number, use_gpu=workers.gpus > 0, resources_per_worker=workers.each,
            elastic_resize_monitor_interval_s=workers.resize_every_s,
        ),
        run_config=RunConfig(
            name=incarnation, storage_path=f"{open_folder(training.folder).uri}/ray", callbacks=reports,
            failure_config=FailureConfig(
                max_failures=workers.max_failures, max_preemption_failures=-1, relax_collectives_on_preemption=True,
                preemption_grace_s=workers.preemption_grace_s,
            ),
            checkpoint_config=CheckpointConfig(), logging_config=LoggingConfig(log_level="ERROR"),
        ),
        validation_config=validation,
    )  # fmt: skip


def _fit(trainer: TorchTrainer) -> dict[str, Any] | None:
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # relative places mean the same on workers as here
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if main else None
    try:
        return trainer.fit().return_value
    except TrainingFailedError as error:
        raise _our_error(error) from error
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)  # fit() leaves its own behind


def _work(training: Training, incarnation: str, spare: bool, cwd: str) -> dict[str, Any]:
    """Runs on every worker, in a process group that Ray has made."""
    _enter(cwd)
    folder, note = open_folder(training.folder), f"ray/{incarnation}/error.json"
    if folder.exists(note):  # the same error would come again: end, and let the driver raise it
        return {"error": json.loads(folder.read(note))}
    try:
        return {"returned": training.train(_Reporter(training, spare), not spare)}
    except NegscaleError as error:
        # lost devices and full disks may be better after a restart; the rest is settled
        if not isinstance(error, FatalError):
            record = {"kind": type(error).__name__, "message": str(error)}
            folder.put_if_absent(note, json.dumps(record).encode())
        raise _named(type(error).__name__, str(error)) from None  # others may not survive the way to the driver


class _Reporter:
    """The watch of one worker. Says when a checkpoint is wanted: once for every announced preemption.

    Ray takes one report of a worker every two seconds, and a worker that has another one waits. Steps may take hundredths of
    a second, so that reports are spaced: rank 0 measures how long steps take and says at which step the next one is due.
    """

    def __init__(self, training: Training, spare: bool) -> None:
        self._training, self._validates = training, spare
        self._answered: set[tuple[str, ...]] = set()
        self._due = 0  # the step from which on the next report is sent
        self._last: tuple[int, float] | None = None  # step and time of the last one

    def __call__(self, progress: Progress) -> bool:
        if progress.step % self._training.report_every and not progress.epoch_ends:
            return False
        figures = {"step": progress.step, "epoch": progress.epoch, **progress.metrics}
        validates = self._validates and progress.epoch_ends
        if validates and ray.train.get_context().get_world_rank() == 0:
            with (
                tempfile.TemporaryDirectory() as folder
            ):  # a pointer: the checkpoint itself lies in the training's folder
                (Path(folder) / "step.json").write_text(json.dumps({"step": progress.step}))
                ray.train.report(
                    figures, Checkpoint.from_directory(folder),
                    validation=ValidationTaskConfig({"step": progress.step}, timeout_s=_VALIDATION_LIMIT_S),
                )  # fmt: skip
        elif validates or progress.step >= self._due:
            ray.train.report(figures)
        if validates or progress.step >= self._due:
            self._due = self._next(progress.step)
        info = ray.train.get_preemption_info()
        if info is None:
            return False
        nodes = tuple(info.preempted_node_ids)
        new = nodes not in self._answered
        self._answered.add(nodes)
        return new

    def _next(self, step: int) -> int:
        """The step of the next report, the same on all workers."""
        now = time.monotonic()
        last, self._last = self._last, (step, now)
        if last is None or step <= last[0]:
            return step + 1
        each_s = (now - last[1]) / (step - last[0])
        return int(broadcast_from_rank_zero(step + max(1, math.ceil(_REPORT_S / max(each_s, 1e-6)))))


class _Reports(UserCallback):
    """Passes rank 0's figures on, beside Ray's controller."""

    def __init__(self, tell: Figures) -> None:
        self._tell = tell

    def after_report(self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Checkpoint | None) -> None:
        self._tell(metrics[0])


def _validate(checkpoint: Checkpoint, *, validate: Validate, cwd: str, **asked: Any) -> dict[str, float]:
    _enter(cwd)
    return validate(int(asked["step"]))


def _enter(cwd: str) -> None:
    if os.path.isdir(cwd):
        os.chdir(cwd)


def _our_error(error: TrainingFailedError) -> NegscaleError:
    """An error of ours inside Ray's wrapping, or Ray's with what to do."""
    failures = error.worker_failures if isinstance(error, WorkerGroupError) else {}
    for _, failure in sorted(failures.items()):
        seen: BaseException | None = failure
        while seen is not None:
            if isinstance(seen, NegscaleError):
                return _named(type(seen).__name__, str(seen))
            inner = getattr(seen, "_base_exc", None) or getattr(seen, "cause", None)
            seen = (
                inner
                if isinstance(inner, BaseException) and inner is not seen
                else (seen.__cause__ or seen.__context__)
            )
    return FatalError(
        f"Ray Train gave up: {error}. Checkpoints are kept; run the same command again when the cause is mended"
    )


def _named(kind: str, message: str) -> NegscaleError:
    """An error of the class that has this name; its subclasses elsewhere become what they derive from."""
    found = getattr(errors, kind, NegscaleError)
    return (found if isinstance(found, type) and issubclass(found, NegscaleError) else NegscaleError)(message)
