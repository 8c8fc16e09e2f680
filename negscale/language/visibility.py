"""Which questions a picture can answer with a "no" that a caption may state: those about what is to be seen.

NegationCLIP's P2 (arXiv 2501.10913, section 3.1) uses VQA questions answered "no"; whether it filters them is not
published. VQA holds questions about opinions, knowledge, intentions, the past, text, the photograph itself and the reader
("would you eat this?"); a "no" to them is nothing that a caption shows. Rules on words, made to refuse in doubt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from negscale.language.lexicon import invisible

REASONS: Final = (
    "not_yes_no",
    "addresses_viewer",
    "image_quality",
    "modal",
    "past_or_future",
    "text_reading",
    "outside_picture",
    "mental_state",
    "opinion",
    "knowledge",
)

_PICTURE = r"(?:picture|image|photo|photograph|pic|shot|scene|frame)"
_ART = r"(?:photo|photograph|picture|image|painting|drawing|cartoon|selfie|portrait|postcard|poster|video|movie|sketch)"


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile(r"\b(?:" + "|".join(patterns) + r")\b", re.IGNORECASE)


def _words(phrases: Iterable[str]) -> re.Pattern[str]:
    return _any(*(re.escape(phrase).replace(r"\ ", r"\s+") for phrase in phrases))


_CHECKS: Final = (
    (
        "not_yes_no",
        re.compile(
            r"^\W*(?:(?:on|in|at|to|for|from)\s+)?(?:what|which|who|whose|whom|how|why|when|where)\b", re.IGNORECASE
        ),
    ),
    ("addresses_viewer", _any("you", "your", "yours", "we", "our", "us", "me", "my", "i")),
    (
        "image_quality",
        _any(
            "blurry", "blurred", "in focus", "out of focus", "focused", f"black and white {_PICTURE}", f"colou?r {_PICTURE}",
            _PICTURE + r" (?:in )?(?:black|colou?r|taken|edited|old|new|real|clear|sharp|modern|vintage|professional)",
            _PICTURE + r" (?:have|look|been|of)", "in colou?r", r"photo ?shopped", "edited", "filter", "resolution",
            "exposure", "overexposed", "posed", "posing for", r"taken (?:in|at|from|with|by|on|during|of|under)",
            r"taken (?:outside|inside|outdoors|indoors|recently|today)", r"(?:this|it|that) an? (?:[a-z]+ ){0,2}" + _ART,
            "selfie", "camera angle", f"(?:sideways|upside down) {_PICTURE}", "watermark", "flash", r"close[- ]?up",
            "high quality", "sepia", "gr[ae]yscale", "panorama",
        ),
    ),
    (
        "modal",
        re.compile(
            r"^\W*(?:can|could|would|will|shall|should|must|may|might|ca|wo)(?:n't)?\b"
            r"|\b(?:could|would|should|might|able to|supposed to|allowed|capable)\b",
            re.IGNORECASE,
        ),
    ),
    (
        "past_or_future",
        re.compile(
            r"^\W*(?:was|were|did|had)(?:n't)?\b|^\W*(?:has|have)(?:n't)?\b(?!.*\bbeen\b)"
            r"|\b(?:going to|about to|just (?:been|got|left|had)|recently|already|yet|still|soon|before|later|yesterday|tomorrow"
            r"|getting ready|ready to|will be|used to|used for|meant (?:to|for)|first time)\b",
            re.IGNORECASE,
        ),
    ),
    ("text_reading", _words(invisible.TEXT)),
    ("outside_picture", _any(r"taking (?:the|this|a) " + _PICTURE, *map(re.escape, invisible.OUTSIDE))),
    ("mental_state", _words(invisible.MENTAL)),
    ("opinion", _words(invisible.OPINION)),
    ("knowledge", _words(invisible.KNOWLEDGE)),
)  # fmt: skip


def invisible_reason(question: str) -> str | None:
    """Why a "no" to the question is nothing to be seen in the picture (one of `REASONS`), or None.

    >>> invisible_reason("Would you eat this?"), invisible_reason("Is the sign written in English?")
    ('addresses_viewer', 'text_reading')
    >>> invisible_reason("Is the man wearing a hat?") is None
    True
    """
    flat = " ".join(question.replace("\u2019", "'").split())
    for reason, pattern in _CHECKS:
        if pattern.search(flat):
            return reason
    return None
