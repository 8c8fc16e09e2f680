"""Benchmark files about drawn scenes in the released layouts, and an evaluation of them by the tiny encoder."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from negscale.backends.dual_encoders import HfDualEncoderConfig
from negscale.backends.hf_weights import TorchConfig
from negscale.backends.negation_scoring import NegationAwareConfig, RepulsionConfig
from negscale.benchmarks.suite_config import SuiteConfig
from negscale.core.runtime import RuntimeConfig
from negscale.datasets.toy_icons import OBJECTS
from negscale.datasets.toy_scenes import captions, scene
from negscale.suite import run_suite
from negscale.tiny_models.files import folder_of

WORLD = 4711
ATTRIBUTES = ("Eyeglasses", "No_Beard", "Wearing_Hat")


def tiny_encoder() -> HfDualEncoderConfig:
    """The trained tiny CLIP."""
    return HfDualEncoderConfig(
        model="negscale/tiny-clip", path=str(folder_of("encoder")), run=TorchConfig(device="cpu", batch_size=32, offline=True)
    )  # fmt: skip


def image_of(index: int) -> str:
    """The name of a drawn scene."""
    return f"toyworld:{WORLD}/{index}"


def make_files(root: Path, scenes: int = 24) -> Path:
    """Multiple choice, retrieval with and without a denial, 2 x 2 groups, changed captions, classes and attributes."""
    root.mkdir(parents=True, exist_ok=True)
    _write_csv(root / "toy_coco_mcq.csv", [question(index) for index in range(scenes)])
    said = {i: captions(scene(WORLD, i), WORLD, i, 2) for i in range(scenes)}
    plain = [{"filepath": image_of(i), "captions": repr(list(said[i]))} for i in range(scenes)]
    _write_csv(root / "toy_coco_retrieval.csv", plain)
    denied = [
        {"filepath": image_of(i), "captions": repr([f"{c.rstrip('.')}, with no {absent(i)[0]}" for c in said[i]])}
        for i in range(scenes)
    ]
    _write_csv(root / "toy_coco_negated_retrieval.csv", denied)
    _write_csv(root / "toy_two_by_two.csv", groups(scenes))
    changed = {
        str(i): {
            "filename": image_of(i), "caption": f"a picture with a {present(i)[0]}",
            "negative_caption": f"a picture with a {absent(i)[1]}",
        }
        for i in range(scenes)
    }  # fmt: skip
    (root / "sugarcrepe_replace_obj.json").write_text(json.dumps(changed))
    folder = root / "imagenet_toy"
    folder.mkdir(exist_ok=True)
    (folder / "classnames.txt").write_text("\n".join(OBJECTS) + "\n")
    labels = [{"file": image_of(i), "class_index": OBJECTS.index(present(i)[0])} for i in range(scenes)]
    _write_csv(folder / "labels.csv", labels)
    lines = [
        f"{image_of(i)} {' '.join('1' if (i >> k) % 2 else '-1' for k in range(len(ATTRIBUTES)))}"
        for i in range(scenes)
    ]
    (root / "list_attr_celeba.txt").write_text("\n".join([str(scenes), " ".join(ATTRIBUTES), *lines]) + "\n")
    return root


def question(index: int) -> dict[str, Any]:
    """One question in NegBench's columns; types take turns."""
    there, gone = present(index)[0], absent(index)
    kind = ("negative", "hybrid", "positive")[index % 3]
    options = [
        {
            "negative": f"There is no {gone[0]} in this image.", "positive": f"This image shows a {there}.",
            "hybrid": f"This image shows a {there}, but no {gone[0]}.",
        }[kind],
        f"This image shows a {gone[0]}, but no {there}.", f"This image shows a {gone[0]}.",
        f"There is no {there} in this image.",
    ]  # fmt: skip
    turned = index % 4
    order = [(slot - turned) % 4 for slot in range(4)]
    row = {f"caption_{slot}": options[which] for slot, which in enumerate(order)}
    return {"image_path": image_of(index), "correct_answer": turned, **row, "correct_answer_template": kind}


def groups(scenes: int) -> list[dict[str, str]]:
    """2 x 2 groups: an object that is in one of two neighbouring scenes, affirmed and denied."""
    found = []
    for a, b in zip(range(0, scenes, 2), range(1, scenes, 2), strict=False):
        only = sorted(scene(WORLD, a).names - scene(WORLD, b).names)
        if only:
            found.append({
                "image_a": image_of(a), "image_b": image_of(b), "caption_a": f"There is a {only[0]}.",
                "caption_b": f"There is no {only[0]}.", "type": "existence",
            })  # fmt: skip
    return found


def present(index: int) -> list[str]:
    """Objects of a scene, sorted."""
    return sorted(scene(WORLD, index).names)


def absent(index: int) -> list[str]:
    """Objects that a scene lacks, in an order of its own."""
    gone = [name for name in OBJECTS if name not in scene(WORLD, index).names]
    return gone[index % len(gone) :] + gone[: index % len(gone)]


def make_suite(folder: Path, scenes: int = 24) -> str:
    """The URI of a finished evaluation of the tiny encoder, by cosine and with a training-free scorer around it."""
    models = {
        "tiny": tiny_encoder(),
        "tiny-repulsion": NegationAwareConfig(encoder=tiny_encoder(), scoring=RepulsionConfig(cosine=0.8)),
    }
    config = SuiteConfig(
        data_root=str(make_files(folder / "data", scenes)), models=models, out=str(folder / "eval"),
        runtime=RuntimeConfig(executor="local", run_root=str(folder / "runs")),
    )  # fmt: skip
    return run_suite(config).suite.uri


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
