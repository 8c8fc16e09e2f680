"""Questions as NegBench releases them, on drawn scenes: made by the real recipe, solvable by their texts alone."""

from __future__ import annotations

from negscale import app
from negscale.backends.statements import GrammarRephraserConfig
from negscale.core.runtime import RuntimeConfig
from negscale.datasets.toyworld import ToyworldConfig
from negscale.pipelines.negbench import MCQ_NEG, McqRecipeConfig
from negscale.science.exams import Exam, items_of
from negscale.storage.run_folder import RunFolder


def negmcq_exam(root: str, seed: int, world: int, images: int) -> Exam:
    """MCQ-Neg (arXiv 2501.09425, section 3) by grammar: up to three questions an image, four options each."""
    runtime = RuntimeConfig(executor="local", run_root=root, version=f"exam-{seed}")
    config = McqRecipeConfig(
        seed=seed, questions=3, source=ToyworldConfig(images=images, captions_per_image=1, seed=world),
        rephraser=GrammarRephraserConfig(), runtime=runtime,
    )  # fmt: skip
    prepared = app.prepare_config(MCQ_NEG, config)
    app.generate(prepared)
    found = []
    for _, table in RunFolder(prepared.spec.uri).tables("data"):
        for row in table.select(["image", "options", "answer", "question_type"]).to_pylist():
            # with one object in sight the recipe asks about that one alone: NegBench's "modified positive"
            kind = row["question_type"].removeprefix("modified_")
            found.append({
                "images": [row["image"]["uri"]], "texts": row["options"], "answer": row["answer"], "type": kind
            })  # fmt: skip
    return Exam("negmcq", "choose_text", items_of(found))
