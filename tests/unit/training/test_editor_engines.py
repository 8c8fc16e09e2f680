"""Editors under DeepSpeed: what every ZeRO stage ends with, killed and resumed, is what one process ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from negscale.training.editor_run import train_editor
from tests.unit.training.edit_runs import edit_run, small_editor
from tests.unit.training.made_runs import run_workers
from tests.unit.training.test_editor import config, final

OPTIMISER = {
    "rate": 2e-3,
    "warm_up_steps": 2,
    "eps": 1e-5,
}  # first steps of AdamW follow the sign of rounding errors else

PROGRAM = """
    import json
    from pathlib import Path
    from negscale.training.editor_run import train_editor
    from tests.unit.training.test_editor import Killed, config, kill_at
    made, stage, root = json.loads(arguments[1]), arguments[2], Path(arguments[0])
    optimiser = json.loads(arguments[3])
    if stage == "lora":
        stage, more = "zero3", {"lora": {"rank": 2}}
    else:
        more = {}
    def chosen(name, stage):
        runtime = {"engine": "deepspeed", "deepspeed": stage}
        return config(made, root / name, optimiser=optimiser, runtime=runtime, **more)
    straight = train_editor("t", chosen("straight", stage))
    try:
        train_editor("t", chosen("broken", stage), kill_at(5))
    except Killed:
        pass
    else:
        raise AssertionError("nobody was killed")
    train_editor("t", chosen("broken", stage))
    if stage == "zero3":  # what one stage left another takes up
        try:
            train_editor("t", chosen("crossed", stage), kill_at(5))
        except Killed:
            pass
        crossed = train_editor("t", chosen("crossed", "zero2"))
        assert crossed["trained_parameters"] == straight["trained_parameters"]
    if rank == 0:
        (root / "count").write_text(str(straight["trained_parameters"]))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("stage", ["zero2", "zero3", "lora"])
def test_editors_learn_the_same_under_every_stage(stage: str, tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    made = {"run": edit_run(tmp_path / "run"), "ip2p": small_editor(tmp_path / "ip2p")}
    run_workers(2, PROGRAM, str(tmp_path), json.dumps(made), stage, json.dumps(OPTIMISER), limit_s=600)
    more = {"lora": {"rank": 2}} if stage == "lora" else {}
    alone = config(made, tmp_path / "alone", optimiser=OPTIMISER, **more)
    manifest = train_editor("t", alone)
    assert int((tmp_path / "count").read_text()) == manifest["trained_parameters"]
    expected = final(alone)
    crossed = ("crossed",) if stage != "zero2" else ()
    states = {
        name: final(config(made, tmp_path / name, optimiser=OPTIMISER, **more))
        for name in ("straight", "broken", *crossed)
    }
    for name, found in states.items():
        assert found.keys() == expected.keys(), name
        worst = max(
            float((found[n] - expected[n]).abs().max() / expected[n].abs().max().clamp(min=1e-5)) for n in expected
        )
        print(f"{stage}, {name}: relative {worst:.1e}")
        assert worst < 2e-3, name
    straight, broken = states["straight"], states["broken"]
    assert [n for n in straight if not bool((straight[n] == broken[n]).all())] == []
