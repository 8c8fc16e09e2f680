"""An object's name in an instruction: article by sound, plural, mass noun, agreement of the verb.

NeIn (Bui et al., arXiv 2409.06481; generation_phase/clause_generation.py) puts the bare class name into its sentences and
takes the article by the first letter ("a hourglass", "an unicorn", "a scissors"). `released` and `released_article` do so
too, so that their strings can be made again; `fill` writes English.
"""

from __future__ import annotations

import re

from negscale.language.noun_forms import ObjectWords, object_words
from negscale.language.nouns import singular

_ARTICLES = ("a ", "an ")
_SLOT = re.compile(r"\{(\w+)\}")


def words_of(noun: str) -> ObjectWords:
    """Forms of an object; a name given in the plural ("skis", "people") stays plural. Raises ValueError for no name."""
    given = " ".join(noun.replace("_", " ").lower().split())
    return object_words(noun, in_plural=singular(noun) != given)


def slots(noun: str) -> dict[str, str]:
    """The forms that templates name.

    >>> slots("hourglass")["a"], slots("scissors")["no"], slots("broccoli")["some"], slots("dog")["any"]
    ('an hourglass', 'no scissors', 'some broccoli', 'any dogs')
    """
    words = words_of(noun)
    one = words.subject.startswith(_ARTICLES)
    return {
        "a": words.subject, "is": words.are, "no": f"no {words.after_no}", "is_no": words.are_no,
        "any": object_words(noun, in_plural=True).any_of, "some": words.subject if one else f"some {words.subject}",
        "not_one": f"not a single {words.after_no}" if one else f"no {words.after_no} at all",
    }  # fmt: skip


def fill(template: str, noun: str, other: str = "") -> str:
    """`template` with the forms of `noun` (and of an affirmed `other` object), its first letter a capital.

    >>> fill("There {is_no} {no} in the image.", "scissors"), fill("{a} {is} missing.", "unicorn")
    ('There are no scissors in the image.', 'A unicorn is missing.')
    >>> fill("There {is_other} {other} but {no}.", "cat", "dog")
    'There is a dog but no cat.'
    """
    forms = slots(noun)
    if other:
        words = words_of(other)
        forms |= {"other": words.subject, "is_other": words.are}
    # one pass, not str.format: a name may hold braces
    text = _SLOT.sub(lambda found: forms.get(found[1], found[0]), template)
    return text[:1].upper() + text[1:]


def released(template: str, noun: str) -> str:
    """`template` with ``{object}`` replaced as the authors do; a sentence that begins with the object gets a capital.

    >>> released("{object} is missing from the image.", "wine glass"), released("No {object} in the image.", "person")
    ('Wine glass is missing from the image.', 'No person in the image.')
    """
    text = template.replace("{object}", noun)
    return text.replace(noun, noun.capitalize(), 1) if text.startswith(noun) else text


def released_article(noun: str) -> str:
    """ "a" or "an" by the first letter, as the authors take it.

    >>> released_article("hourglass"), released_article("unicorn")
    ('a', 'an')
    """
    return "an" if noun[:1].lower() in tuple("aeiou") else "a"


def object_added(instruction: str) -> str:
    """The object of "Add a/an/some ...": two words and the final dot dropped, as the released readers do.

    Raises ValueError for another sentence.

    >>> object_added("Add an apple."), object_added("Add some scissors.")
    ('apple', 'scissors')
    """
    words = instruction.strip().rstrip(".").split()
    if len(words) < 3 or words[0] != "Add" or words[1] not in ("a", "an", "some"):
        raise ValueError(f"expected 'Add a ...', 'Add an ...' or 'Add some ...', got {instruction!r}")
    return " ".join(words[2:])
