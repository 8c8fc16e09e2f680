"""Strict parsers of model answers: a value, or None when the answer is something else. None is never a default.

The released parsers disagree: ``"yes" in answer`` (NegationCLIP) calls "I see no eyes" a yes, ``answer == "Yes"`` (NeIn)
calls "Yes." a no, and both take anything else for a no.
"""

from __future__ import annotations

import re

_YES_NO = re.compile(r"^\W*(yes|no)\b(?!\s+(?:way|idea|matter|doubt|problem))", re.IGNORECASE)
_BOTH = re.compile(r"\byes\b.*\bno\b|\bno\b[,.]?\s+yes\b", re.IGNORECASE | re.DOTALL)
_OBJECT = re.compile(r"^[^\W\d_][\w'’-]*(?: [\w'’-]+){0,2}$")
_LEAD = re.compile(r"^(?:an?|the|some|any)\s+", re.IGNORECASE)
_PREAMBLE = re.compile(
    r"^(?:sure|certainly|of course|okay|ok|here(?:'s| is| you go)|caption|answer|the (?:new |negated |updated )?caption"
    r"(?: is| with)?)\b[^:\n]*:\s*",
    re.IGNORECASE,
)
_REFUSAL = re.compile(r"\b(?:i cannot|i can't|i'm sorry|as an ai|i am unable|i don't know|not sure)\b", re.IGNORECASE)


def parse_yes_no(answer: str) -> bool | None:
    """True, False, or None when the answer is neither.

    Looks at the first word only, and at nothing else when it says both: "Yes, there is." is a yes, "I see no eyes" and
    "yes and no" are unparsable.

    >>> parse_yes_no(" Yes."), parse_yes_no("No, there is not"), parse_yes_no("eyes"), parse_yes_no("Yes and no")
    (True, False, None, None)
    """
    found = _YES_NO.match(answer.strip())
    if not found or _BOTH.search(answer.strip()[:40]):
        return None
    return found[1].lower() == "yes"


def parse_object(answer: str) -> str | None:
    """An object name of one to three words in lower case, without article and final dot; None for anything else.

    >>> parse_object("Umbrella."), parse_object("a hot dog"), parse_object("I would say a hat or a coat, maybe")
    ('umbrella', 'hot dog', None)
    """
    text = answer.strip().strip("\"'`*").rstrip(".! ").strip("\"'`*")
    text = _LEAD.sub("", text).lower()
    return text if _OBJECT.match(text) and not _REFUSAL.search(text) else None


def parse_caption(answer: str) -> str | None:
    """The one-line caption in an answer, without chatty preamble and enclosing quotes; None when there is none.

    >>> parse_caption('Here is the caption: "a dog with no ball"')
    'a dog with no ball'
    >>> parse_caption("I'm sorry, I cannot do that.") is None
    True
    """
    text = _PREAMBLE.sub("", answer.strip()).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) != 1:
        return None
    text = lines[0]
    if len(text) > 1 and text[0] in "\"'“‘`" and text[-1] in "\"'”’`":
        text = text[1:-1].strip()
    return text if any(c.isalpha() for c in text) and not _REFUSAL.search(text) else None
