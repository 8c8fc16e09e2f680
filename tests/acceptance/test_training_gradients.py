"""Promise: the gradient of a step is that of one worker with the whole batch, for every engine and number of workers."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from safetensors.torch import load_file

from tests.acceptance.verdict import verdict
from tests.unit.training.made_runs import caption_run, question_run, run_workers

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]

HAS_DEEPSPEED = importlib.util.find_spec("deepspeed") is not None
CASES = [("torch", "float64"), ("torch", "float32")]
CASES += [(f"zero{stage}", "float32") for stage in (0, 1, 2)] if HAS_DEEPSPEED else []
LIMITS = {"float64": 1e-9, "float32": 1e-4}
SIZES = (1, 2, 4)

# one step of our objective (five kinds of text, questions, captions held in place) on a batch that no size divides
PROGRAM = """
    import json
    from safetensors.torch import save_file
    from tests.unit.training.step_of import gradients_by
    for engine, precision in json.loads(arguments[3]):
        for wrong in (False, True):
            found = gradients_by(engine, arguments[1], arguments[2], precision, wrong)
            if rank == 0:
                save_file(found, f"{arguments[0]}/{engine}-{precision}-{wrong}-{size}.safetensors")
"""

Found = dict[tuple[str, str, bool, int], dict[str, torch.Tensor]]


@pytest.fixture(scope="module")
def gradients(tmp_path_factory: pytest.TempPathFactory) -> Found:
    import json

    folder = tmp_path_factory.mktemp("gradients")
    captions, questions = caption_run(folder / "captions", (6, 5)), question_run(folder / "questions", 7)
    for size in SIZES:
        run_workers(size, PROGRAM, str(folder), captions, questions, json.dumps(CASES), limit_s=900)
    return {
        (engine, precision, wrong, size): load_file(folder / f"{engine}-{precision}-{wrong}-{size}.safetensors")
        for engine, precision in CASES for wrong in (False, True) for size in SIZES
    }  # fmt: skip


def worst(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], floor: float) -> float:
    """The largest difference of a parameter's gradient, relative to the largest of its numbers.

    Gradients that are noise (the biases of attention keys, which softmax cancels) have no relative difference.
    """
    assert found.keys() == expected.keys()
    most = max(float(g.abs().max()) for g in expected.values())
    names = [name for name, g in expected.items() if float(g.abs().max()) > floor * most]
    assert len(names) > 20
    return max(float((found[n] - expected[n]).abs().max() / expected[n].abs().max()) for n in names)


@pytest.mark.parametrize(("engine", "precision"), CASES)
def test_gradients_do_not_depend_on_the_number_of_workers(gradients: Found, engine: str, precision: str) -> None:
    reference = gradients["torch", precision, False, 1]
    floor = 1e-12 if precision == "float64" else 1e-5
    found = {size: worst(gradients[engine, precision, False, size], reference, floor) for size in SIZES}
    counted_twice = {size: worst(gradients[engine, precision, True, size], reference, floor) for size in SIZES[1:]}
    limit = LIMITS[precision]
    verdict(
        f"{engine}, {precision}: gradients at 1, 2, 4 workers are those of one; times-world-size would be seen",
        max(found.values()) < limit and min(counted_twice.values()) > 0.5,
        **{f"relative_at_{size}": value for size, value in found.items()}, limit=limit,
        **{f"error_times_world_at_{size}": value for size, value in counted_twice.items()},
    )  # fmt: skip
