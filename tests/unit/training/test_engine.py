"""The gradient of a step does not depend on the number of workers."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tests.unit.training import step_of
from tests.unit.training.made_runs import caption_run, question_run, run_workers

# one step of every objective, on a batch that no number of workers divides, with two captions an image
PROGRAM = """
    from safetensors.torch import save_file
    from tests.unit.training.step_of import gradients
    found = gradients(arguments[1], arguments[2])
    if rank == 0:
        save_file(found, f"{arguments[0]}/gradients-{size}.safetensors")
"""


@pytest.fixture(scope="module")
def gradients(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("gradients")
    captions = caption_run(folder / "captions", (6, 5))
    questions = question_run(folder / "questions", 7)
    for size in (2, 4):
        run_workers(size, PROGRAM, str(folder), captions, questions)
    several = {size: load_file(folder / f"gradients-{size}.safetensors") for size in (2, 4)}
    return {1: step_of.gradients(captions, questions), **several}


def worst(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], prefix: str) -> float:
    """The largest difference of a parameter's gradient, relative to the largest of its numbers."""
    names = [name for name in expected if name.startswith(prefix) and expected[name].abs().max() > 1e-12]
    assert len(names) > 20
    return max(float((found[n] - expected[n]).abs().max() / expected[n].abs().max()) for n in names)


@pytest.mark.timeout(900)  # the workers start with the first of these
@pytest.mark.parametrize("objective", ["negationclip", "negbench", "negclip", "con_clip", "negscale", "statements"])
@pytest.mark.parametrize("size", [2, 4])
def test_gradients_are_those_of_one_worker(gradients: dict, size: int, objective: str) -> None:
    found = worst(gradients[size], gradients[1], f"{objective}:")
    print(f"{objective}, {size} workers: {found:.2e}")
    assert found < 1e-9


@pytest.mark.parametrize("size", [2, 4])
def test_a_loss_that_counts_workers_twice_would_be_seen(gradients: dict, size: int) -> None:
    wrong = {name.removeprefix("wrong-"): g for name, g in gradients[size].items() if name.startswith("wrong-")}
    assert worst(wrong, gradients[1], "negscale:") > 0.5


def test_masking_reaches_over_workers(gradients: dict) -> None:
    # without the mask the gradient differs, and by the same amount whatever the number of workers
    plain = {name.removeprefix("unmasked-"): g for name, g in gradients[4].items() if name.startswith("unmasked-")}
    assert worst(plain, gradients[1], "negscale:") > 1e-3
