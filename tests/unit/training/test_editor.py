"""Editor trainings on drawn scenes: what is drawn and wanted, stop and go on, several workers, adapters, export."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from negscale.backends.tiny.vision import find
from negscale.core.errors import ConfigError, PlanError
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import draw as draw_scene
from negscale.datasets.toy_scenes import scene
from negscale.language.polarity import polarity
from negscale.storage.folder import open_folder
from negscale.training import editor_run
from negscale.training.checkpoint import Checkpoints
from negscale.training.clip_text import LossError, Progress
from negscale.training.editor import Averages, Conditions, parted, step_loss
from negscale.training.editor_batches import BEFORE, REMOVING, EditCollator, draw
from negscale.training.editor_config import EditTrainConfig
from negscale.training.editor_export import export_editor, is_editor_training, trained_editor
from negscale.training.editor_model import EditorUnet, load_editor
from negscale.training.editor_run import edit_training_uri, open_edit_data, train_editor
from negscale.training.order import Cursor
from negscale.training.reader import World
from tests.unit.training.edit_runs import edit_run, small_editor
from tests.unit.training.made_runs import caption_run, run_workers

ALL_KINDS = {"negative": 0.4, "affirmative": 0.2, "keep": 0.2, "two_objects": 0.2}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("made")
    return {
        "run": edit_run(folder / "run"), "ip2p": small_editor(folder / "ip2p"),
        "text": small_editor(folder / "text", channels=4), "velocity": small_editor(folder / "v", prediction="v_prediction"),
    }  # fmt: skip


def config(made: dict[str, str], root: Path | str, editor: str = "ip2p", **more: Any) -> EditTrainConfig:
    runtime = {"run_root": str(root), "device": "cpu", "report_every": 1, "checkpoint_every": 3}
    base: dict[str, Any] = {
        "model": {"model": "made/small", "path": made[editor]}, "data": [{"uri": made["run"]}], "size_px": 32, "epochs": 2,
        "batch_rows": 5, "optimiser": {"rate": 2e-3, "warm_up_steps": 2}, "ema": 0.9,
        "runtime": {**runtime, **more.pop("runtime", {})},
    }  # fmt: skip
    return EditTrainConfig.model_validate({**base, **more})


def lines(made: EditTrainConfig) -> list[dict[str, Any]]:
    text = (Path(edit_training_uri("t", made)) / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def final(made: EditTrainConfig) -> dict[str, Any]:
    checkpoints = Checkpoints(open_folder(edit_training_uri("t", made)))
    _, state = checkpoints.load(checkpoints.steps()[-1])
    return {**state.trainable, **state.optimiser}


class Killed(Exception):
    pass


def kill_at(step: int):
    def watch(progress: Progress) -> None:
        if progress.step == step:
            raise Killed

    return watch


def batches(chosen: EditTrainConfig, world: World = World()) -> tuple[list[Any], Any]:  # noqa: B008 - frozen
    """The first epoch's batches, and the parts of the editor."""
    data, parts = open_edit_data(chosen), load_editor(chosen.model)
    editor_run.make_latents(chosen, data, parts, "cpu", world)
    collate = EditCollator(chosen, data.rows, data.readers, (4, 16, 16), 1000, world)
    return [collate(batch) for batch in data.rows.epoch(Cursor(), chosen.batch_rows, world)], parts


def test_what_is_drawn_follows_the_shares(made: dict[str, str], tmp_path: Path) -> None:
    chosen = config(made, tmp_path, instructions=ALL_KINDS)
    row = {"id": "r", "negative_instruction": "no", "affirmative_instruction": "yes", "keep_instruction": "keep",
           "two_objects_instruction": "two"}  # fmt: skip
    drawn = [draw(row, chosen, 1000, 0, place) for place in range(4000)]
    kinds = Counter(d.kind for d in drawn)
    for kind, part in ALL_KINDS.items():
        assert kinds[kind] / 4000 == pytest.approx(part, abs=0.03)
    shown = Counter((d.says, d.sees) for d in drawn)
    for left_out in ((False, True), (False, False), (True, False)):
        assert shown[left_out] / 4000 == pytest.approx(0.05, abs=0.015)
    assert np.mean([d.mirrored for d in drawn]) == pytest.approx(0.5, abs=0.03)
    assert np.mean([d.time for d in drawn]) == pytest.approx(500, abs=20)
    assert max(d.time for d in drawn) < 1000
    assert draw(row, chosen, 1000, 0, 7) == drawn[7] != draw(row, chosen, 1000, 1, 7)
    # a row that lacks a sentence learns the others
    without = {**row, "two_objects_instruction": None}
    assert {draw(without, chosen, 1000, 0, place).kind for place in range(200)} == set(ALL_KINDS) - {"two_objects"}


def test_batches_show_what_the_sentence_wants(made: dict[str, str], tmp_path: Path) -> None:
    chosen = config(made, tmp_path, instructions=ALL_KINDS, size_px=96, mirror=0.0)
    found, _ = batches(chosen)
    ids = [row for batch in found for row in batch.ids]
    numbers = sorted(int(row[4:8]) for row in ids)
    assert numbers == [n for n in range(24) if n % 6 != 5], "the eval split never trains, every other row once"
    data = open_edit_data(chosen)
    assert data.held_out is not None
    assert data.held_out.order(0).rows == 4
    sentences = 0
    for batch in found:
        assert batch.pixels is not None
        for k, row in enumerate(batch.ids):
            what = scene(5, int(row[4:8]))
            with_object, without = (batch.pixels[side, k].permute(1, 2, 0).numpy() for side in (0, 1))
            assert np.array_equal(without, draw_scene(what))
            assert not np.array_equal(with_object, without)
            if batch.texts[k]:
                denied = [name for name in OBJECTS if polarity(batch.texts[k], name) == "denied"]
                seen = {name for name in denied if find(with_object, name).score >= 0.5}
                # what goes is what the sentence denies and the picture shows
                assert bool(seen) != bool(batch.stays_B[k]), batch.texts[k]
                sentences += 1
    assert sentences > 10


def test_a_place_draws_the_same_whatever_the_workers(made: dict[str, str], tmp_path: Path) -> None:
    chosen = config(made, tmp_path, instructions=ALL_KINDS, batch_rows=7)
    alone, _ = batches(chosen)
    pair = [batches(chosen, World(rank, 2))[0] for rank in (0, 1)]
    for whole, first, second in zip(alone, *pair, strict=True):
        assert [*first.ids, *second.ids] == whole.ids
        assert len(first.texts) == len(second.texts)
        count = len(first.ids)
        for name in ("noise_BChw", "times_B", "sees_B", "stays_B"):
            values = getattr(whole, name)
            assert torch.equal(values[:count], getattr(first, name)[:count])
            assert torch.equal(values[count:], getattr(second, name)[: len(second.ids)])
        assert not second.valid_B[len(second.ids) :].any()


class Oracle:
    """Predicts exactly: what is wanted follows from the noisy latents and the clean ones."""

    world, device = World(), "cpu"

    def __init__(self, parts: Any, wanted: Any, velocity: bool) -> None:
        self.parts, self.wanted, self.velocity, self.seen = parts, wanted, velocity, None

    def encode(self, inputs: Any) -> Any:
        noisy, self.seen, times, _ = inputs
        level = self.parts.scheduler.alphas_cumprod[times][:, None, None, None]
        noise = (noisy - level.sqrt() * self.wanted) / (1 - level).sqrt()
        return level.sqrt() * noise - (1 - level).sqrt() * self.wanted if self.velocity else noise

    def total(self, local: Any) -> Any:
        return local


@pytest.mark.parametrize("editor", ["ip2p", "velocity"])
def test_the_loss_is_zero_for_the_noise_and_the_wanted_image_only(
    editor: str, made: dict[str, str], tmp_path: Path
) -> None:
    chosen = config(made, tmp_path, editor, instructions=ALL_KINDS, batch_rows=20)
    (batch,), parts = batches(chosen)
    conditions = Conditions(parts, "cpu", torch.float32)
    before, after = conditions.latents(batch, torch.float32)
    stays = batch.stays_B[:, None, None, None]
    right, wrong = torch.where(stays, before, after), torch.where(stays, after, before)
    for latents, limit in ((right, (0, 1e-6)), (wrong, (1e-4, 1e6))):
        oracle: Any = Oracle(parts, latents * parts.vae.config.scaling_factor, editor == "velocity")
        loss, values = step_loss(batch, oracle, conditions, torch.float32)
        assert limit[0] <= float(loss) <= limit[1], values
        hidden = oracle.seen.flatten(1).abs().sum(1) == 0
        assert torch.equal(hidden, ~batch.sees_B)


def test_new_input_channels_change_nothing_at_first(made: dict[str, str], tmp_path: Path) -> None:
    old = diffusers.UNet2DConditionModel.from_pretrained(made["text"], subfolder="unet")
    new = load_editor(config(made, tmp_path, "text").model).unet
    noisy, image, states = torch.randn(2, 4, 16, 16), torch.randn(2, 4, 16, 16), torch.randn(2, 24, 64)
    with torch.no_grad():
        one = old(noisy, torch.tensor([3, 700]), states).sample
        two = EditorUnet(new)((noisy, image, torch.tensor([3, 700]), states))
    assert torch.allclose(one, two, atol=1e-6)
    assert new.config.in_channels == 8
    assert new.conv_in.weight.requires_grad


def test_averages_follow_the_weights() -> None:
    weights = {"w": torch.zeros(2)}
    averages = Averages(0.5, lambda: weights)
    wanted = 0.0
    for step in range(1, 40):
        weights["w"].fill_(float(step))
        averages.update(step)
        keep = min(0.5, (1 + step) / (10 + step))
        wanted = keep * wanted + (1 - keep) * step
    assert averages.values["w"].tolist() == pytest.approx([wanted] * 2)


def test_it_learns_and_leaves_its_record(made: dict[str, str], tmp_path: Path) -> None:
    chosen = config(made, tmp_path, epochs=25, batch_rows=10)
    manifest = train_editor("t", chosen)
    found = lines(chosen)
    assert [line["step"] for line in found] == list(range(1, manifest["steps"] + 1)) == list(range(1, 51))
    losses = [line["loss"] for line in found]
    assert np.mean(losses[-10:]) < 0.9 * np.mean(losses[:10])
    assert manifest["held_out"]["held_out_loss"] > 0
    assert manifest["data"][0]["run"] == "nein"
    assert train_editor("t", chosen)["seconds"] == manifest["seconds"]  # finished: nothing is done again


def test_killed_and_resumed_is_bit_equal(made: dict[str, str], tmp_path: Path) -> None:
    straight, broken = config(made, tmp_path / "a"), config(made, tmp_path / "b")
    train_editor("t", straight)
    for step in (5, 7):  # after a checkpoint, and in the second epoch
        with pytest.raises(Killed):
            train_editor("t", broken, kill_at(step))
    train_editor("t", broken)
    expected, found = final(straight), final(broken)
    assert expected.keys() == found.keys()
    assert any(name.endswith("/ema") for name in expected)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert [line["step"] for line in lines(broken)] == [1, 2, 3, 4, 5, 6, 7, 8]


WORKERS = """
    import json
    from pathlib import Path
    from tests.unit.training.test_editor import config
    from negscale.training.editor_run import train_editor
    made = json.loads(arguments[1])
    train_editor("t", config(made, Path(arguments[0]) / "pair", precision="float64"))
"""


@pytest.mark.slow
def test_two_workers_learn_what_one_does(made: dict[str, str], tmp_path: Path) -> None:
    run_workers(2, WORKERS, str(tmp_path), json.dumps(made))  # batches of 5: 3 rows and 2
    alone = config(made, tmp_path / "alone", precision="float64")
    train_editor("t", alone)
    expected, found = final(alone), final(config(made, tmp_path / "pair", precision="float64"))
    worst = max(float((found[n] - expected[n]).abs().max() / expected[n].abs().max().clamp(min=1e-9)) for n in expected)
    print(f"2 workers beside 1: relative {worst:.1e}")
    assert worst < 1e-5  # the frozen towers stay in float32, whose last bits depend on how a batch is cut


def test_precomputed_latents_are_those_of_the_pixels(made: dict[str, str], tmp_path: Path) -> None:
    losses = []
    for precomputed in (False, True):
        chosen = config(made, tmp_path / str(precomputed), mirror=0.0, precomputed=precomputed, epochs=1)
        train_editor("t", chosen)
        losses.append([line["loss"] for line in lines(chosen)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    again = config(made, tmp_path / "True", mirror=0.0, precomputed=True, epochs=1, runtime={"version": "v2"})
    data, parts = open_edit_data(again), load_editor(again.model)
    assert editor_run.make_latents(again, data, parts, "cpu", World()) == 0, "made once"
    assert data.rows.vectors[BEFORE].read(0, data.rows.parts[0].shard).shape == (9, 4 * 16 * 16)


@pytest.mark.slow
def test_activations_computed_twice_give_the_same(made: dict[str, str], tmp_path: Path) -> None:
    plain, twice = (
        config(made, tmp_path / str(on), epochs=1, runtime={"gradient_checkpointing": on}) for on in (False, True)
    )
    assert plain.identity() == twice.identity()
    train_editor("t", plain)
    train_editor("t", twice)
    expected, found = final(plain), final(twice)
    assert max(float((found[n] - expected[n]).abs().max()) for n in expected) < 1e-5


@pytest.mark.parametrize(("editor", "lora"), [("ip2p", None), ("velocity", {"rank": 2}), ("text", {"rank": 2})])
def test_exports_load_in_diffusers_and_give_the_same(
    editor: str, lora: dict[str, int] | None, made: dict[str, str], tmp_path: Path
) -> None:
    chosen = config(made, tmp_path, editor, lora=lora, epochs=1)
    manifest = train_editor("t", chosen)
    uri = edit_training_uri("t", chosen)
    assert is_editor_training(uri)
    whole = sum(p.numel() for p in load_editor(chosen.model).unet.parameters())
    assert manifest["trained_parameters"] == whole if lora is None else manifest["trained_parameters"] < 0.2 * whole
    # the network as it was trained, its adapters beside the weights
    trained = load_editor(chosen.model, chosen.lora)
    _, averages = parted(Checkpoints(open_folder(uri)).load(manifest["steps"])[1])
    with torch.no_grad():
        for name, parameter in EditorUnet(trained.unet).trainable().items():
            parameter.copy_(averages[name])
    facts = export_editor(uri, str(tmp_path / "out"))
    pipe = diffusers.StableDiffusionInstructPix2PixPipeline.from_pretrained(tmp_path / "out")
    start = load_editor(chosen.model).unet
    inputs = (torch.randn(2, 4, 16, 16), torch.randn(2, 4, 16, 16), torch.tensor([3, 700]), torch.randn(2, 24, 64))
    with torch.no_grad():
        expected, found, before = (EditorUnet(unet)(inputs) for unet in (trained.unet, pipe.unet, start))
    assert float((expected - found).abs().max()) < 1e-5
    assert float((before - found).abs().max()) > 1e-4, "something was learnt"
    assert facts["weights"] == "averaged"
    assert pipe.scheduler.config.prediction_type == ("v_prediction" if editor == "velocity" else "epsilon")
    assert made["run"] not in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(PlanError, match="exists"):
        export_editor(uri, str(tmp_path / "out"))
    last, _ = trained_editor(uri, weights="last")
    with torch.no_grad():
        assert float((EditorUnet(last.unet)(inputs) - found).abs().max()) > 1e-6


def test_bad_input_is_refused(made: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="fewer than one batch"):
        train_editor("t", config(made, tmp_path, batch_rows=100))
    captions = caption_run(tmp_path / "captions")
    with pytest.raises(PlanError, match=r"no column.*image_with_object"):
        train_editor("t", config({**made, "run": captions}, tmp_path))
    with pytest.raises(ValueError, match="cannot be mirrored"):
        config(made, tmp_path, precomputed=True)
    with pytest.raises(ValueError, match="every share is 0"):
        config(made, tmp_path, instructions={"negative": 0})
    with pytest.raises(ConfigError, match=r"no layer whose name ends in 'to_z'"):
        train_editor("t", config(made, tmp_path, lora={"modules": ["to_z"]}))
    with pytest.raises(PlanError, match="multiple of the autoencoder's 2"):
        train_editor("t", config(made, tmp_path, size_px=33))
    index = Path(made["text"]) / "model_index.json"
    other = tmp_path / "other"
    other.mkdir()
    (other / "model_index.json").write_text(index.read_text().replace("StableDiffusionPipeline", "FluxPipeline"))
    with pytest.raises(ConfigError, match="FluxPipeline"):
        train_editor("t", config({**made, "text": str(other)}, tmp_path, "text"))


def test_weights_of_another_architecture_are_refused(made: dict[str, str], tmp_path: Path) -> None:
    chosen = config(made, tmp_path, epochs=1)
    train_editor("t", chosen)
    other = small_editor(tmp_path / "wide", width=16)
    file = Path(edit_training_uri("t", chosen)) / "config.yaml"
    file.write_text(file.read_text().replace(made["ip2p"], other))
    with pytest.raises(ConfigError, match="another architecture"):
        export_editor(str(file.parent), str(tmp_path / "out"))


def test_a_loss_that_is_no_number_stops_with_the_ids(
    made: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = config(made, tmp_path)
    collate, calls = EditCollator.__call__, []

    def poisoned(self, batch, epoch=None):
        found = collate(self, batch, epoch)
        calls.append(found.ids)
        if len(calls) == 4:
            found.noise_BChw[0] = torch.inf
        return found

    monkeypatch.setattr(EditCollator, "__call__", poisoned)
    with pytest.raises(LossError, match=r"step 3 .*checkpoint is kept"):
        train_editor("t", chosen)
    folder = Path(edit_training_uri("t", chosen))
    assert json.loads((folder / "failed_batch.json").read_text())["ids"] == calls[3]
    assert Checkpoints(open_folder(str(folder))).steps() == [3]


def test_an_unreadable_image_weighs_nothing(made: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    uri = edit_run(folder)
    (folder / "images/3.png").write_bytes(b"no image")
    chosen = config({**made, "run": uri}, tmp_path, batch_rows=20, epochs=1)
    train_editor("t", chosen)
    (line,) = lines(chosen)
    assert (line["rows"], line["unreadable_images"]) == (19, 1)
    assert np.isfinite(line["loss"])


def test_removing_kinds_are_those_of_the_evaluation() -> None:
    from negscale.stages import edit_queries

    assert REMOVING == edit_queries.REMOVING
