"""An editor training's checkpoint as a diffusers folder: `StableDiffusionInstructPix2PixPipeline.from_pretrained(FOLDER)`.

Averaged weights where the training kept them; adapters are merged into the UNet. Everything frozen comes from the pipeline
that the training started from.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any, Literal

from negscale.core import config as configs
from negscale.core.errors import ConfigError, PlanError
from negscale.models.weights import load_into
from negscale.storage.folder import open_folder
from negscale.training.checkpoint import Checkpoints
from negscale.training.editor import parted
from negscale.training.editor_config import EditTrainConfig
from negscale.training.editor_model import EditorParts, EditorUnet, load_editor

TARGET = "instruct-pix2pix"
Weights = Literal["averaged", "last"]


def is_editor_training(uri: str) -> bool:
    """Whether a folder is that of an editor training."""
    folder = open_folder(uri)
    if not folder.exists("run.json"):
        return False
    record = json.loads(folder.read("run.json"))
    return record.get("kind") == "training" and "instructions" in record["identity"]["config"]


def trained_editor(
    uri: str, step: int | None = None, weights: Weights | None = None
) -> tuple[EditorParts, dict[str, Any]]:
    """The editor of a checkpoint with its adapters merged, and its lineage; default: the last step, averaged if it can be.

    Raises PlanError without a checkpoint, ConfigError when averages are asked for and none were kept.
    """
    folder = open_folder(uri)
    checkpoints = Checkpoints(folder)
    steps = checkpoints.steps()
    if not steps:
        raise PlanError(f"{uri} has no checkpoint yet; run its train command first")
    chosen = step if step is not None else steps[-1]
    _, state = checkpoints.load(chosen)
    plain, averages = parted(state)
    if weights == "averaged" and not averages:
        raise ConfigError(f"{uri} kept no averaged weights (ema=null); export the last ones")
    config = configs.load(EditTrainConfig, [(f"{uri}/config.yaml", folder.read("config.yaml").decode())])
    parts = load_editor(config.model, config.lora)
    tensors = plain.trainable if weights == "last" or not averages else averages
    load_into(EditorUnet(parts.unet).trainable(), tensors, f"the checkpoint of step {chosen}")
    if parts.adapted:
        parts.unet.fuse_lora()
        parts.unet.unload_lora()
    record = json.loads(folder.read("run.json"))
    identity = record["identity"]
    facts = {
        "training": record["fingerprint"], "step": chosen, "model": identity["model"], "data": identity["data"],
        "weights": "last" if tensors is plain.trainable else "averaged", "config": identity["config"],
    }  # fmt: skip
    return parts, facts


def export_editor(uri: str, out: str = "", step: int | None = None, weights: Weights | None = None) -> dict[str, Any]:
    """Write the pipeline to the new folder `out` (default: beside the training); returns what was written.

    Raises PlanError when `out` exists.
    """
    import diffusers

    parts, facts = trained_editor(uri, step, weights)
    place = Path(out or f"{uri.rstrip('/')}/export/{TARGET}-{facts['step']:09d}")
    if place.exists():
        raise PlanError(f"{place} exists; give another --out, or delete it")
    place.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{place.name}.", dir=place.parent))
    library: Any = diffusers
    try:
        library.StableDiffusionInstructPix2PixPipeline(
            vae=parts.vae, text_encoder=parts.words, tokenizer=parts.tokenizer, unet=parts.unet, scheduler=parts.sampler,
            safety_checker=None, feature_extractor=None, requires_safety_checker=False,
        ).save_pretrained(aside)  # fmt: skip
        (aside / "negscale.json").write_text(json.dumps(facts, indent=1) + "\n")
        (aside / "README.md").write_text(_card(facts))
        aside.chmod(0o755)
        aside.rename(place)  # whole or not at all
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return {"path": str(place), "to": TARGET, **facts}


def _card(facts: dict[str, Any]) -> str:
    """The model card: what it was made of."""
    shares = {kind: part for kind, part in facts["config"]["instructions"].items() if part}
    data = "\n".join(
        f"- `{run['run']}`, fingerprint `{run['run_fingerprint']}`, content `{run['content_digest']}`, {run['rows']:,} rows, "
        f"weight {run['weight']:g}"
        for run in facts["data"]
    )
    return (
        "---\nlibrary_name: diffusers\npipeline_tag: image-to-image\n---\n# Image editor that reads negative instructions\n\n"
        f"InstructPix2Pix (arXiv 2211.09800) fine-tuned on NeIn's form of data (arXiv 2409.06481), by negscale.\n\n"
        f"- started from: `{facts['model']}`\n"
        f"- training: `{facts['training']}`, step {facts['step']:,}, {facts['weights']} weights\n"
        f"- instructions learnt from, by share: {json.dumps(shares)}\n\nData:\n\n{data}\n\n"
        "The whole config is in `negscale.json`. Nothing is measured here: `negscale eval nein` gives removal, "
        "retention and the controls of this folder with `editor.kind=diffusers_editor editor.path=FOLDER`.\n"
    )
