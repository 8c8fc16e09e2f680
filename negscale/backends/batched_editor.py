"""What every editor over diffusers does around its model: sizes, passes, seeds, threads, faults.

The loop of NeIn's script is: read an image, edit it, write it, next. Here rows of one working size go through the model
together, and while it works, one thread scales the pictures of the next pass and another finishes those of the last.
"""

from __future__ import annotations

import gc
import hashlib
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np

from negscale.backends.diffusion_weights import DiffusionModelConfig
from negscale.backends.micro_batches import Pass, groups, run_halving, slices
from negscale.backends.pixels import pixel_fault
from negscale.backends.working_size import WorkingSize
from negscale.core.backend import Edit, EditRequest, Image
from negscale.core.errors import FatalError
from negscale.core.stage import Fault

_T = TypeVar("_T")
NOT_A_NUMBER = Fault(
    "not_a_number", "the edited picture is NaN; another seed may do, else set dtype=bfloat16 or float32", retryable=True
)
BLANK = Fault("blank_image", "every pixel of the edited picture has one colour; another seed may do", retryable=True)
BLOCKED = Fault("blocked_by_safety_checker", "the pipeline's safety checker flagged the edited picture", retryable=True)


@dataclass(frozen=True, slots=True)
class Job:
    """A request with its picture at working size. Equal `image_key`: equal pixels."""

    request: EditRequest
    image: Image
    image_key: bytes


Finish: TypeAlias = Callable[[], Sequence[Image | Fault]]


class BatchedEditor(ABC):
    """ImageEditor: plans the passes and answers for each request. Subclasses run a pass."""

    exact = True  # on one kind of device and with one `run.batch_size`, unless memory ran out (`Edit.batch` says so)

    def __init__(self, config: DiffusionModelConfig, size: WorkingSize, batch_size: int) -> None:
        self._config, self._size, self._batch_size = config, size, batch_size
        self._pipe: Any = None

    @property
    def id(self) -> str:
        """diffusers/MODEL@REVISION; steps, guidance and sizes are in the config's identity."""
        return self._id

    @cached_property
    def _id(self) -> str:
        return self._config.backend_id()

    def close(self) -> None:
        """Drop the pipeline."""
        self._pipe = None
        self._free()

    @abstractmethod
    def load(self) -> None:
        """Load the pipeline; ConfigError when it cannot be had or is of another kind."""

    @abstractmethod
    def _start(self, jobs: Sequence[Job]) -> Finish:
        """Run a pass. What is returned brings the pictures home: on another thread, while the next pass runs."""

    def edit(self, requests: Sequence[EditRequest]) -> list[Edit | Fault]:
        """One edit (or Fault) per request, in order; an image that several requests share is prepared once."""
        if self._pipe is None:
            raise FatalError(f"{self.id}: edit() on an editor that is not loaded; call load() first")
        answers: list[Edit | Fault | None] = [pixel_fault(request.image, request.image_id) for request in requests]
        sound = [number for number, fault in enumerate(answers) if fault is None]
        sizes = [self._size.of(*requests[number].image.shape[:2]) for number in sound]
        planned = [
            [sound[at] for at in rows] for found in groups(sizes).values() for rows in slices(found, self._batch_size)
        ]
        finishing: list[Future[None]] = []
        with ThreadPoolExecutor(1) as before, ThreadPoolExecutor(1) as after:
            prepared = [before.submit(self._prepared, [requests[number] for number in rows]) for rows in planned]
            fitting: dict[Hashable, int] = {}
            for rows, ready in zip(planned, prepared, strict=True):
                for done in self._passes(dict(zip(rows, ready.result(), strict=True)), fitting):
                    if done.result is None:
                        answers[done.rows[0]] = _no_memory(done.error, requests[done.rows[0]].image)
                    else:
                        finishing.append(
                            after.submit(self._finish, done.result, done.rows, done.size, requests, answers)
                        )
            for future in finishing:
                future.result()  # raises what a thread raised
        return [answer for answer in answers if answer is not None]

    def _passes(self, jobs: Mapping[int, Job], fitting: dict[Hashable, int]) -> Iterator[Pass[Finish]]:
        """Runs jobs of one working size. fitting: the passes that memory allowed so far in this call, by working size."""
        size = next(iter(jobs.values())).image.shape
        limit = fitting.get(size, self._batch_size)
        for piece in slices(list(jobs), limit):
            for done in run_halving(piece, limit, lambda some: self._start([jobs[n] for n in some]), self._free):
                fitting[size] = min(done.size, fitting.get(size, limit))
                yield done

    def _prepared(self, requests: Sequence[EditRequest]) -> list[Job]:
        fitted: dict[bytes, Image] = {}
        jobs = []
        for request in requests:
            key = hashlib.blake2b(repr(request.image.shape).encode() + request.image.tobytes(), digest_size=16).digest()
            if key not in fitted:
                fitted[key] = self._size.fitted(request.image)
            jobs.append(Job(request, fitted[key], key))
        return jobs

    def _finish(
        self, finish: Finish, rows: Sequence[int], size: int, requests: Sequence[EditRequest],
        answers: list[Edit | Fault | None],
    ) -> None:  # fmt: skip
        for number, made in zip(rows, finish(), strict=False):  # what fills a pass up comes last and is dropped
            source = requests[number].image
            if isinstance(made, Fault):
                answers[number] = made
            elif (made == made[0, 0]).all() and not (source == source[0, 0]).all():
                answers[number] = BLANK
            else:
                answers[number] = Edit(np.ascontiguousarray(self._size.restored(made, source)), batch=size)

    def _free(self) -> None:
        gc.collect()  # tensors of a failed try that only a cycle holds
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()


class Memo(Generic[_T]):
    """The last `size` values made, by key."""

    def __init__(self, size: int) -> None:
        self._size, self._kept = size, OrderedDict[Hashable, _T]()

    def get(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """The value of `key`, made when it is not kept."""
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        value = self._kept[key] = make()
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return value


def _no_memory(error: str, image: Image) -> Fault:
    height, width = image.shape[:2]
    message = (
        f"not even one edit of an image of {width} x {height} pixels fits into memory ({error[:300]}); lower size_px, or "
        f"set run.offload=model, run.attention=sliced or run.autoencoder=sliced"
    )
    return Fault("out_of_memory", message, retryable=True)
