"""One training loop for all tiny models: AdamW, warm-up and cosine, seeded; weights saved in half precision."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WARM_UP = 50


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast a model learns."""

    steps: int
    rate: float  # the highest learning rate
    weight_decay: float = 0.02


def seeded(seed: int) -> Any:
    """The torch module, with its generator seeded and deterministic kernels; one seed gives one model on one machine."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(True)
    return torch


def fit(parameters: Iterable[Any], loss_of: Callable[[int], Any], schedule: Schedule, title: str) -> float:
    """Minimise `loss_of(step)`; prints the loss now and then. Returns minutes taken."""
    import torch

    learnt = list(parameters)
    optimiser = torch.optim.AdamW(learnt, lr=schedule.rate, weight_decay=schedule.weight_decay, betas=(0.9, 0.98))
    began, seen = time.monotonic(), 0.0
    for step in range(schedule.steps):
        for group in optimiser.param_groups:
            group["lr"] = schedule.rate * _share(step, schedule.steps)
        loss = loss_of(step)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
        seen = loss.item() if step == 0 else 0.95 * seen + 0.05 * loss.item()
        if step % 50 == 0 or step == schedule.steps - 1:
            minutes = (time.monotonic() - began) / 60
            print(f"{title}: step {step} of {schedule.steps}, loss {seen:.4f}, {minutes:.1f} min", flush=True)
    return (time.monotonic() - began) / 60


def _share(step: int, steps: int) -> float:
    return min(1.0, (step + 1) / _WARM_UP) * (0.02 + 0.98 * (1 + math.cos(math.pi * step / steps)) / 2)


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
