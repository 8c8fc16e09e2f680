"""One training loop for all tiny models: AdamW, warm-up and cosine, seeded; weights saved in half precision."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from negscale.core.errors import NegscaleError

_WARM_UP = 50


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast a model learns."""

    steps: int
    rate: float  # the highest learning rate
    weight_decay: float = 0.02
    flat: float = 0.0  # share of the steps at the highest rate, before the cosine


def seeded(seed: int) -> Any:
    """The torch module, with its generator seeded and deterministic kernels; one seed gives one model on one machine."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    return torch


class Paused(NegscaleError):
    """A training stopped before its end, and says how to go on."""

    exit_code = 3


class Pause:
    """Lets trainings of `loss_of` that draw by the step alone stop after some minutes and go on, with equal results."""

    def __init__(self, folder: Path, minutes: float) -> None:
        self._folder, self._end = folder, time.monotonic() + 60 * minutes

    def begun(self, title: str, learnt: list[Any], optimiser: Any) -> tuple[int, float]:
        """(steps done, minutes taken) by the stopped training called `title`, whose state is put into `learnt` and `optimiser`."""
        import torch
        from safetensors import safe_open

        path = self._file(title)
        if not path.is_file():
            return 0, 0.0
        with safe_open(path, "pt") as kept, torch.no_grad():
            facts = kept.metadata()
            for number, value in enumerate(learnt):
                value.copy_(kept.get_tensor(f"value.{number}"))
                if f"mean.{number}" not in kept.keys():  # noqa: SIM118 - no mapping  # part of the model is not learnt
                    continue
                optimiser.state[value] = {
                    "step": torch.tensor(float(facts["step"])), "exp_avg": kept.get_tensor(f"mean.{number}"),
                    "exp_avg_sq": kept.get_tensor(f"square.{number}"),
                }  # fmt: skip
        return int(facts["step"]), float(facts["minutes"])

    def keep(self, title: str, learnt: list[Any], optimiser: Any, step: int, minutes: float, last: bool) -> None:
        """Keep the state when time is over (raises Paused) or the training has ended."""
        from safetensors.torch import save_file

        if not last and time.monotonic() < self._end:
            return
        tensors = {f"value.{number}": value.detach() for number, value in enumerate(learnt)}
        for number, value in enumerate(learnt):
            if state := optimiser.state.get(value):
                tensors |= {f"mean.{number}": state["exp_avg"], f"square.{number}": state["exp_avg_sq"]}
        self._folder.mkdir(parents=True, exist_ok=True)
        partial = self._file(title).with_suffix(".partial")
        save_file(tensors, partial, {"step": str(step), "minutes": str(minutes)})
        partial.replace(self._file(title))
        if not last:
            raise Paused(f"{title}: paused after {step} steps; run the same command again to go on")

    def has(self, title: str) -> bool:
        """Whether the training called `title` stopped (or ended) here before."""
        return self._file(title).is_file()

    def _file(self, title: str) -> Path:
        return self._folder / f"{title.replace(', ', '-').replace(' ', '-')}.safetensors"


def fit(
    parameters: Iterable[Any], loss_of: Callable[[int], Any], schedule: Schedule, title: str, pause: Pause | None = None
) -> float:
    """Minimise `loss_of(step)`; prints the loss now and then. Returns minutes taken. Raises Paused when `pause` says so."""
    import torch

    learnt = list(parameters)
    optimiser = torch.optim.AdamW(learnt, lr=schedule.rate, weight_decay=schedule.weight_decay, betas=(0.9, 0.98))
    first, before = pause.begun(title, learnt, optimiser) if pause else (0, 0.0)
    began, seen = time.monotonic() - 60 * before, 0.0
    for step in range(first, schedule.steps):
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate * _share(step, schedule)
        loss = loss_of(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
        seen = loss.item() if step == first else 0.95 * seen + 0.05 * loss.item()
        if step % 50 == 0 or step == schedule.steps - 1:
            minutes = (time.monotonic() - began) / 60
            print(f"{title}: step {step} of {schedule.steps}, loss {seen:.4f}, {minutes:.1f} min", flush=True)
        if pause:
            minutes = (time.monotonic() - began) / 60
            pause.keep(title, learnt, optimiser, step + 1, minutes, last=step + 1 == schedule.steps)
    return (time.monotonic() - began) / 60


def _share(step: int, schedule: Schedule) -> float:
    flat = schedule.flat * schedule.steps
    fallen = 1.0 if step < flat else math.cos(math.pi * (step - flat) / (schedule.steps - flat))
    return min(1.0, (step + 1) / _WARM_UP) * (0.02 + 0.98 * (1 + fallen) / 2)


def save_half(model: Any, folder: Path) -> None:
    """Config and weights, the numbers in float16; the config says float32, which is what loaders then compute in."""
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    model.to(torch.float16).save_pretrained(folder)
    model.to(torch.float32)
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"dtype": "float16"', '"dtype": "float32"'))


def answer_loss(
    model: Any, prompts: list[list[int]], answers: list[list[int]], cache: Any = None, copies: int = 1
) -> Any:
    """Mean cross-entropy of the answers' tokens.

    What all prompts begin with (instructions, examples) is computed once, not once a row. With `cache` the caller did
    that already, for rows that each serve `copies` prompts in turn.
    """
    import torch

    decoder, head = getattr(model.model, "language_model", model.model), model.lm_head
    if cache is None:
        shared = _common(prompts)
        first = decoder(input_ids=torch.tensor([prompts[0][:shared]]), use_cache=True)
        cache, copies = first.past_key_values, len(prompts)
        prompts = [prompt[shared:] for prompt in prompts]
    cache.batch_repeat_interleave(copies)
    rows = [prompt + answer[:-1] for prompt, answer in zip(prompts, answers, strict=True)]
    width = max(map(len, rows))
    # padding on the right: no earlier position looks at it, and its answers are not counted
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    hidden = decoder(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state
    at = [(i, len(p) - 1 + k) for i, (p, a) in enumerate(zip(prompts, answers, strict=True)) for k in range(len(a))]
    wanted = torch.tensor([token for answer in answers for token in answer])
    rows_at, columns_at = torch.tensor(at).T
    return torch.nn.functional.cross_entropy(head(hidden[rows_at, columns_at]), wanted)


def _common(prompts: list[list[int]]) -> int:
    """Length of the longest common beginning, at least one token short of the shortest prompt."""
    low, high = min(prompts), max(prompts)
    limit = min(map(len, prompts)) - 1
    return next((i for i in range(limit) if low[i] != high[i]), limit)
