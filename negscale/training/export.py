"""A checkpoint as others read it: open_clip, OpenAI's state dict, transformers' `CLIPModel` or text encoder alone.

The checkpoint holds what trained; the rest comes from the model that the training started from.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from negscale.backends.dual_encoders import HfDualEncoderConfig
from negscale.core import config as configs
from negscale.core.errors import ConfigError, PlanError
from negscale.models.layouts import check_openai, open_clip_config, to_openai, to_transformers, transformers_config
from negscale.models.towers import layout_of
from negscale.models.weights import load_into, to_bytes
from negscale.storage.folder import open_folder
from negscale.training.card import model_card
from negscale.training.checkpoint import Checkpoints
from negscale.training.config import TrainConfig
from negscale.training.loading import load_model
from negscale.training.validation import validations

_CLIP_VOCABULARY = 49408
TARGETS = ("open-clip", "openai", "clip", "clip-text")


def is_training(uri: str) -> bool:
    """Whether a folder is that of a training."""
    folder = open_folder(uri)
    return folder.exists("run.json") and json.loads(folder.read("run.json")).get("kind") == "training"


@dataclass(frozen=True, slots=True)
class Trained:
    """A model with both towers and what its texts and pictures go through before it."""

    model: Any
    tokenizer: Any
    pictures: Mapping[str, Any]  # size_px, mean, std; empty where the library did not say
    facts: Mapping[str, Any]  # lineage
    processor: Any = None  # the image processor of transformers, where the model came with one


def trained_model(uri: str, step: int | None = None) -> Trained:
    """The model of a training folder's checkpoint; default: the best one, else the last. Raises PlanError without one."""
    folder = open_folder(uri)
    checkpoints = Checkpoints(folder)
    steps = checkpoints.steps()
    if not steps:
        raise PlanError(f"{uri} has no checkpoint yet; run its train command first")
    chosen = step if step is not None else checkpoints.best() or steps[-1]
    checkpoint, state = checkpoints.load(chosen)
    config = configs.load(TrainConfig, [(f"{uri}/config.yaml", folder.read("config.yaml").decode())])
    model, tokenizer = load_model(config.model)
    parameters = dict(model.named_parameters())
    known = {name: parameters[name] for name in state.trainable if name in parameters}
    start = {name: parameter.detach().clone() for name, parameter in known.items()} if config.blend < 1 else {}
    load_into(known, state.trainable, f"the checkpoint of step {chosen}")
    with torch.no_grad():
        for name, weights in start.items():
            known[name].copy_(torch.lerp(weights, known[name], config.blend))
    record = json.loads(folder.read("run.json"))
    identity = record["identity"]
    facts = {
        "training": record["fingerprint"], "name": record["name"], "step": chosen, "model": identity["model"],
        "data": identity["data"], "config": identity["config"], "held_out": checkpoint.facts.get("held_out", {}),
        "validation": {at: figures for at, figures in validations(folder).items() if at <= chosen},
    }  # fmt: skip
    processor: Any = None
    if isinstance(config.model, HfDualEncoderConfig):
        import transformers

        processor = config.model.load_with(transformers.AutoImageProcessor.from_pretrained)
    return Trained(model.eval(), tokenizer, _pictures(model, processor), facts, processor)


def export_checkpoint(uri: str, to: str, out: str = "", step: int | None = None) -> dict[str, Any]:
    """Write the checkpoint to the new folder `out` (default: beside the training); returns what was written.

    to: one of `TARGETS`. Raises ConfigError where the format cannot express the model, PlanError when `out` exists.
    """
    if to not in TARGETS:
        raise ConfigError(f"--to {to!r} is unknown for a training; known: {', '.join(TARGETS)}")
    trained = trained_model(uri, step)
    facts = dict(trained.facts)
    place = Path(out or f"{uri.rstrip('/')}/export/{to}-{facts['step']:09d}")
    if place.exists():
        raise PlanError(f"{place} exists; give another --out, or delete it")
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    try:
        writers: dict[str, Callable[[Trained, Path], None]] = {
            "open-clip": write_open_clip, "openai": write_openai, "clip": write_clip, "clip-text": write_clip_text,
        }  # fmt: skip
        writers[to](trained, aside)
        (aside / "negscale.json").write_text(json.dumps(facts, indent=1) + "\n")
        (aside / "README.md").write_text(model_card(to, facts), encoding="utf-8")
        aside.chmod(0o755)
        aside.rename(place)  # whole or not at all
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return {"path": str(place), "to": to, **facts}


def openai_state(model: Any) -> dict[str, Tensor]:
    """All weights under OpenAI's names."""
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    return to_openai(state) if layout_of(model) == "transformers" else state


def model_config(model: Any) -> dict[str, Any]:
    """open_clip's `model_cfg`."""
    if layout_of(model) == "transformers":
        return open_clip_config(model.config)
    from transformers import CLIPConfig

    config = open_clip_config(CLIPConfig(**transformers_config(model, int(model.vocab_size) - 1)))
    if model.text_pool_type == "eos":
        config["text_cfg"] |= {"pool_type": "eos", "eos_id": int(model.text_eos_id)}
    return config


def as_transformers(model: Any, end_token: int) -> Any:
    """The `CLIPModel` with an open_clip model's weights; texts are read at the first `end_token`."""
    from transformers import CLIPConfig, CLIPModel

    clip: Any = CLIPModel(CLIPConfig(**transformers_config(model, end_token)))
    load_into(dict(clip.named_parameters()), to_transformers(openai_state(model)), "the converted model")
    return clip.eval()


def write_open_clip(trained: Trained, folder: Path) -> None:
    """`open_clip.create_model("local-dir:FOLDER")`, `open_clip.get_tokenizer("local-dir:FOLDER")`."""
    config = model_config(trained.model)
    if layout_of(trained.model) == "transformers" and config["text_cfg"]["vocab_size"] != _CLIP_VOCABULARY:
        trained.tokenizer.save_pretrained(folder)
        config["text_cfg"]["hf_tokenizer_name"] = "."  # any name: open_clip looks into the folder of the model
    (folder / "open_clip_model.safetensors").write_bytes(to_bytes(openai_state(trained.model)))
    seen = {key: trained.pictures[key] for key in ("mean", "std") if key in trained.pictures}
    written = {"model_cfg": config, "preprocess_cfg": seen}
    (folder / "open_clip_config.json").write_text(json.dumps(written, indent=1) + "\n")


def write_openai(trained: Trained, folder: Path) -> None:
    """OpenAI's state dict as safetensors: `clip.model.build_model(safetensors.torch.load_file(FILE))`."""
    check_openai(model_config(trained.model))
    (folder / "model.safetensors").write_bytes(to_bytes(openai_state(trained.model)))


def write_clip(trained: Trained, folder: Path) -> None:
    """`CLIPModel.from_pretrained(FOLDER)` and `CLIPProcessor.from_pretrained(FOLDER)`."""
    from transformers import CLIPImageProcessor

    _clip(trained).save_pretrained(folder)
    _save_tokenizer(trained, folder)
    if trained.processor is not None:
        trained.processor.save_pretrained(folder)
        return
    seen = trained.pictures
    more: dict[str, Any] = {f"image_{key}": list(seen[key]) for key in ("mean", "std") if key in seen}
    CLIPImageProcessor(
        size={"shortest_edge": seen["size_px"]}, crop_size={"height": seen["size_px"], "width": seen["size_px"]}, **more
    ).save_pretrained(folder)


def write_clip_text(trained: Trained, folder: Path) -> None:
    """`CLIPTextModel.from_pretrained(FOLDER)`: what diffusers pipelines take as `text_encoder`."""
    from transformers import CLIPTextModel

    clip = _clip(trained)
    text: Any = CLIPTextModel(clip.config.text_config)
    # releases of transformers differ in whether the text model's own names begin with text_model
    ours = {n.removeprefix("text_model."): t for n, t in clip.named_parameters() if n.startswith("text_model.")}
    load_into({n.removeprefix("text_model."): p for n, p in text.named_parameters()}, ours, "the text encoder")
    text.save_pretrained(folder)
    _save_tokenizer(trained, folder)


def _clip(trained: Trained) -> Any:
    if layout_of(trained.model) == "transformers":
        return trained.model
    return as_transformers(trained.model, int(trained.tokenizer.eot_token_id))


def _save_tokenizer(trained: Trained, folder: Path) -> None:
    if layout_of(trained.model) == "transformers":
        trained.tokenizer.save_pretrained(folder)
        return
    from transformers import CLIPTokenizer

    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary: dict[str, int] = {
        str(names.get(token, token)): number for token, number in trained.tokenizer.encoder.items()
    }
    CLIPTokenizer(
        vocab=vocabulary, merges=list(trained.tokenizer.bpe_ranks), model_max_length=int(trained.model.context_length),
        pad_token="<|endoftext|>",
    ).save_pretrained(folder)  # fmt: skip


def _pictures(model: Any, processor: Any) -> dict[str, Any]:
    """How pictures become pixel values."""
    if processor is not None:
        side = model.config.vision_config.image_size
        return {"size_px": side, "mean": list(processor.image_mean), "std": list(processor.image_std)}
    size = model.visual.image_size
    facts = getattr(model.visual, "preprocess_cfg", {})
    seen = {key: list(facts[key]) for key in ("mean", "std") if key in facts}
    return {"size_px": int(size[0] if isinstance(size, (tuple, list)) else size), **seen}
