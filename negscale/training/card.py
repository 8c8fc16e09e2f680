"""The model card of an exported checkpoint: what it is, what it was trained on and how, and how it did on held-out rows.

Every figure comes from the training's own records. Licences are never guessed, and what was not measured is said not to be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

_LOADS = {
    "open-clip": (
        "open_clip",
        'model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")\n'
        'tokenizer = open_clip.get_tokenizer("local-dir:FOLDER")',
    ),
    "openai": ("clip", 'model = clip.model.build_model(safetensors.torch.load_file("FOLDER/model.safetensors"))'),
    "clip": ("transformers", 'model = transformers.CLIPModel.from_pretrained("FOLDER")'),
    "clip-text": (
        "transformers",
        'text_encoder = transformers.CLIPTextModel.from_pretrained("FOLDER")\n'
        'pipeline = diffusers.DiffusionPipeline.from_pretrained(BASE, text_encoder=text_encoder)',
    ),
}  # fmt: skip


def model_card(to: str, facts: Mapping[str, Any]) -> str:
    """README.md of an export. facts: `training`, `name`, `step`, `model`, `data`, `config`, `held_out`, `validation`."""
    library, _ = _LOADS[to]
    front = {
        "library_name": library, "pipeline_tag": "zero-shot-image-classification" if to != "clip-text" else "feature-extraction",
        "license": "other", "license_name": "see-card", "tags": ["negation", "clip", "vision-language", "negscale"],
    }  # fmt: skip
    header = yaml.safe_dump(front, sort_keys=False)
    return f"---\n{header}---\n\n" + "\n\n".join(_sections(to, facts)) + "\n"


def _sections(to: str, facts: Mapping[str, Any]) -> Iterator[str]:
    config = facts["config"]
    objective = config["objective"]["kind"]
    yield f"# {facts['name']}, step {facts['step']:,}"
    yield (
        f"The text encoder of `{facts['model']}`, fine-tuned with objective `{objective}` so that it tells what a text denies "
        f"from what it asserts. The image tower is the old one: embeddings of images stay valid."
    )
    yield f"```python\n{_LOADS[to][1]}\n```"
    yield (
        "## Licence\n\nThe weights keep the licence of the model that they started from, the data that of its sources; no "
        "other one was given."
    )
    yield "## Data\n\n" + _table(
        ("run", "rows", "times each", "fingerprint", "digest of all rows"),
        [
            (
                run["run"], f"{run['rows']:,}", f"{run['weight']:g}", f"`{run['run_fingerprint']}`",
                f"`{run['content_digest']}`",
            )
            for run in facts["data"]
        ],
    )  # fmt: skip
    holdout = config["holdout"]
    yield (
        f"Held out of it: {holdout['share']:.0%} by {holdout['by']}, drawn by a hash of the name (seed {holdout['seed']})."
        if holdout["share"]
        else "Nothing was held out: no figure on this card comes from rows like those that trained."
    )
    recipe = {key: value for key, value in config.items() if key not in ("data", "questions")}
    yield (
        f"## Recipe\n\nTraining `{facts['training']}`. Parameters of these roles did not train: "
        f"{', '.join(config['freeze'])}.\n\n```yaml\n{yaml.safe_dump(recipe, sort_keys=False)}```"
    )
    yield "## Evaluation\n\n" + _evaluation(facts)
    yield (
        "## Known limits\n\n"
        "- Absence in the training data is what its verifier said; see the cards of the runs above.\n"
        "- The figures above are on rows of the same source as the training data. Benchmarks of negation, of ordinary "
        "retrieval and of zero-shot classification: `negscale eval` on this model.\n"
        "- Captions are English; texts beyond the model's context were cut."
    )


def _evaluation(facts: Mapping[str, Any]) -> str:
    validation: Mapping[int, Mapping[str, float]] = facts["validation"]
    steps = sorted(validation)
    names = sorted({name for figures in validation.values() for name in figures})
    parts = []
    if facts["held_out"]:
        parts.append(
            "Loss and its terms on the held-out rows at this step:\n\n"
            + _table(("figure", "value"), [(n, f"{v:.4f}") for n, v in facts["held_out"].items()])
        )
    if steps:
        shown = steps if len(steps) <= 4 else [steps[0], *steps[-3:]]
        rows = [(n, *[_number(validation[step].get(n)) for step in shown]) for n in names]
        parts.append(
            "Retrieval by captions and by captions that deny something (recall), and the choice between affirming and denying "
            "an object, asked of images with it and without it (blind to the image or to the negation: 0.5, and no more than 0.17 "
            "for both of two images right), after these steps:\n\n"
            + _table(("figure", *[f"step {step:,}" for step in shown]), rows)
        )
    return "\n\n".join(parts) or "Nothing was measured during the training: no rows were held out."


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value == int(value) and value > 1 else f"{value:.4f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)
