"""Prompts of NegationCLIP, pipeline 2 (Park et al., arXiv 2501.10913, section 3.1): question, "no" and caption in one.

The authors published neither prompt nor code of P2; these texts are ours. The system turn is that of their P1, the
examples cover what P2 is for: one object, attribute and action each come before the request, those of the request's own
kind last. Question and caption are data between quotes, as in P1.
"""

from __future__ import annotations

from negscale.prompts.negationclip import NEGATE_SYSTEM, quoted

MERGE_SYSTEM = NEGATE_SYSTEM
MERGE = (
    "About the image of the caption '{caption}' it was asked '{question}', and the answer is 'no'. Add what the answer "
    "denies to the caption. Keep everything the caption says, add nothing else, and answer with the caption only."
)
MERGE_EXAMPLES: dict[str, tuple[tuple[str, str, str], ...]] = {  # kind -> (caption, question, merged caption)
    "object": (
        (
            "a small boat tied to a wooden dock",
            "Are there any people in the boat?",
            "a small boat with no people in it tied to a wooden dock",
        ),
        (
            "A plate of pasta on a table.",
            "Is there a fork next to the plate?",
            "A plate of pasta on a table, without a fork next to the plate.",
        ),
    ),
    "attribute": (
        (
            "a cat sleeping on a couch",
            "Does the cat have stripes?",
            "a cat without stripes sleeping on a couch",
        ),
        (
            "A bus drives down a city street.",
            "Is the bus red?",
            "A bus that is not red drives down a city street.",
        ),
    ),
    "action": (
        (
            "a man standing next to a horse",
            "Is the man riding the horse?",
            "a man standing next to a horse but not riding it",
        ),
        (
            "Two dogs lie on the grass.",
            "Are the dogs running?",
            "Two dogs that are not running lie on the grass.",
        ),
    ),
}


def merge_prompt(caption: str, question: str) -> str:
    """The user turn that asks for the merged caption."""
    return MERGE.format(caption=quoted(caption), question=quoted(question))


def examples_for(kind: str) -> tuple[tuple[str, str, str], ...]:
    """(caption, question, merged caption) to show before a request: the first of each other kind, then all of its own."""
    others = [examples[0] for name, examples in MERGE_EXAMPLES.items() if name != kind]
    return (*others, *MERGE_EXAMPLES.get(kind, ()))


def texts() -> dict[str, str]:
    """Every text that bears on the output, for the fingerprint."""
    examples = {
        f"merge_{kind}_{i}": " | ".join(example)
        for kind, found in MERGE_EXAMPLES.items()
        for i, example in enumerate(found)
    }
    return {"merge_system": MERGE_SYSTEM, "merge": MERGE, **examples}
