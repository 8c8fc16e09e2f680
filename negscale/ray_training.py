"""A training on Ray Train: from its config's `runtime.ray` to the executor, with its progress shown here."""

from __future__ import annotations

import contextlib
import importlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from negscale.core.errors import ConfigError
from negscale.core.runtime import RuntimeConfig

if TYPE_CHECKING:
    from negscale.training.config import TrainRuntime

Told = Callable[[Mapping[str, Any]], None]
_FOLLOW_S = 2.0


def run_on_ray(
    uri: str, runtime: TrainRuntime, train: Callable[..., Any], validate: Callable[[int], dict[str, float]] | None = None,
    told: Told | None = None,
) -> Any:  # fmt: skip
    """What `train(watch, validate_here)` returns on the first of the workers that `runtime.ray` asks for.

    uri: the training's folder. train, validate: picklable. told: called in this process with {step, epoch, figures...}.
    """
    from negscale.executors import ray_train  # Ray takes seconds to import

    wish = runtime.ray
    workers = ray_train.Workers(
        number=wish.workers, cpus=wish.cpus, gpus=wish.gpus, resources=wish.resources,
        wait_for_nodes_s=wish.wait_for_nodes_s, resize_every_s=wish.resize_every_s, max_failures=wish.max_failures,
        preemption_grace_s=wish.preemption_grace_s, timeout_s=wish.timeout_s,
    )  # fmt: skip
    training = ray_train.Training(
        folder=uri, train=train, workers=workers, validate=validate, on_report=callback(runtime.metrics_callback),
        report_every=runtime.report_every,
    )  # fmt: skip
    with _following(uri, told):
        return ray_train.run(training, RuntimeConfig(ray_address=wish.address, ray_cpus=wish.local_cpus))


def callback(name: str) -> Told | None:
    """The function called `package.module:function`; None for "". Raises ConfigError when there is no such function."""
    if not name:
        return None
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"runtime.metrics_callback={name!r}: expected package.module:function ({error})") from error
    if not callable(found):
        raise ConfigError(f"runtime.metrics_callback={name!r} is no function")
    return cast("Told", found)


@contextlib.contextmanager
def _following(uri: str, told: Told | None) -> Iterator[None]:
    """Pass on the newest line that the training's first worker logs; the workers are other processes, maybe elsewhere."""
    from negscale.storage.folder import open_folder

    folder, ended = open_folder(uri), threading.Event()

    def follow() -> None:
        while told is not None and not ended.wait(_FOLLOW_S):
            with contextlib.suppress(FileNotFoundError, ValueError, KeyError, IndexError):
                told(json.loads(folder.read("metrics.jsonl").splitlines()[-1]))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(2 * _FOLLOW_S)
