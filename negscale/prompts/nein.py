"""Texts of NeIn (Bui et al., arXiv 2409.06481, section 3; tanbuinhat/NeIn, generation_phase and filtering_phase).

Thirteen negative sentences, "Add a/an ...", the text that BLIP compares an edit with, and the filter's two questions. What
differs: the sentences are made grammatical ("The image is without person.", "No scissors present in the image." are not);
each has a control that says the contrary; the wrapper "[INST] <image>" is left to the model's own chat template. `released`
keeps the authors' strings as they are.

The places in braces are forms of the object's name, filled by `negscale.language.instructions`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class Template:
    """A sentence that denies an object, what the authors wrote, and the matched control that affirms it."""

    negative: str
    affirmative: str
    released: str


TEMPLATES: tuple[Template, ...] = (
    Template("The image doesn't have {any}.", "The image has {a}.", "The image doesn't have any {object}."),
    Template("The image does not have {any}.", "The image does have {a}.", "The image does not have any {object}."),
    Template("The image cannot have {any}.", "The image can have {a}.", "The image cannot have any {object}."),
    Template(
        "There {is_no} {no} present in the image.", "There {is} {a} present in the image.",
        "No {object} present in the image.",
    ),
    Template("There {is_no} {no} in the image.", "There {is} {a} in the image.", "No {object} in the image."),
    Template("The image is without {a}.", "The image shows {a}.", "The image is without {object}."),
    Template("{not_one} {is_no} in sight.", "{a} {is} in sight.", "Not a single {object} in sight."),
    Template("{a} {is} not part of the scene.", "{a} {is} part of the scene.", "{object} is not part of the scene."),
    Template("The image lacks {a}.", "The image includes {a}.", "The image lacks {object}."),
    Template(
        "{a} {is} nowhere to be seen in the image.", "{a} {is} to be seen in the image.",
        "{object} is nowhere to be seen in the image.",
    ),
    Template("{a} {is} missing from the image.", "{a} {is} included in the image.", "{object} is missing from the image."),
    Template("This is a scene without {a}.", "This is a scene with {a}.", "A scene without {object}."),
    Template(
        "The image lacks the presence of {a}.", "The image has the presence of {a}.",
        "The image lacks the presence of {object}.",
    ),
)  # fmt: skip

ADD = "Add {some}."  # always two words before the object: the released readers drop two words and the dot
TWO_OBJECTS = "There {is_other} {other} but {no}."
HAS = "This image has"  # goes on as the instruction does: "a dog."

ASK_CAPTION = 'Does the caption "{caption}" describe this image? Answer only yes or no'
ASK_OBJECT = "Does this image contain {a}? Answer only yes or no"


def quoted(text: str) -> str:
    """`text` as data between double quotes: one line, and no quote that could end it.

    >>> quoted('a "big"\\ndog')
    'a ”big” dog'
    """
    return _SPACE.sub(" ", text).strip().replace('"', "”")


def matching_text(caption: str, add_instruction: str) -> str:
    """The text that an edited image is compared with: the caption, then what was added.

    >>> matching_text("A man on a bench", "Add a dog.")
    'A man on a bench. This image has a dog.'
    """
    text, has = caption.rstrip(), HAS + add_instruction.removeprefix("Add")
    return f"{text} {has}" if text.endswith((".", "!", "?")) else f"{text}. {has}"


def caption_question(caption: str) -> str:
    """The question whether a caption still fits the edited image."""
    return ASK_CAPTION.replace("{caption}", quoted(caption))


def object_question(phrase: str) -> str:
    """The question whether an object, named with its article, is in the edited image."""
    return ASK_OBJECT.replace("{a}", quoted(phrase))


def texts() -> dict[str, str]:
    """Every text that bears on what is written, for the fingerprint."""
    numbered = {f"template_{i}": " | ".join((t.negative, t.affirmative, t.released)) for i, t in enumerate(TEMPLATES)}
    return {"add": ADD, "two_objects": TWO_OBJECTS, **numbered}


def filter_texts() -> dict[str, str]:
    """Every text that bears on the filter, for the fingerprint."""
    return {"has": HAS, "ask_caption": ASK_CAPTION, "ask_object": ASK_OBJECT}
