"""Two ways to put the texts of a benchmark to a multimodal LLM, and how its answers are read.

By letters: which of these statements is true of the image (NegBench asks LLaVA so, arXiv 2501.09425, section 4). By yes and
no: does this caption describe the image, each text by itself, as NeIn's filter asks (arXiv 2409.06481, section 3.1). What
differs from the released parsers, which look for a letter anywhere ("A dog is there" is an A) or take anything else for a
wrong answer: a letter counts only where it stands as one, the option's own words count for it, and anything else is None.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from negscale.prompts.nein import ASK_CAPTION, caption_question, quoted

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
ASK_LETTER = "Which of these statements is true of this image?"
ANSWER_LETTER = "Answer with the letter of one statement only."
_THINKING = re.compile(r"^\s*<think>.*?</think>", re.DOTALL | re.IGNORECASE)  # of reasoning models, before the answer
# "B", "(B)", "B.", "B) A dog", "Answer: B", "The answer is B.", "Option B"; never the article of "A dog is there"
_LEAD = r"(?:(?:the\s+)?(?:correct\s+|right\s+|best\s+)?(?:answer|option|choice|statement)(?:\s+is)?\s*:?\s*)?"
_LETTER = re.compile(rf"^\W*{_LEAD}[\[(*\"']*([A-Z])[\])*\"'.:,\n-]+\s*", re.IGNORECASE)
_BARE = re.compile(rf"^\W*{_LEAD}[\[(*\"']*([A-Z])[\])*\"'.]*\s*$", re.IGNORECASE)


def letter_question(texts: Sequence[str]) -> str:
    """The question with its lettered options. Raises ValueError for fewer than two texts, or more than there are letters."""
    if not 2 <= len(texts) <= len(LETTERS):
        raise ValueError(f"expected 2 to {len(LETTERS)} texts, got {len(texts)}")
    options = [f"{letter}. {quoted(text)}" for letter, text in zip(LETTERS, texts, strict=False)]
    return "\n".join([ASK_LETTER, *options, ANSWER_LETTER])


def fits_question(text: str) -> str:
    """The question whether a text describes the image."""
    return caption_question(text)


def parse_letter(answer: str, texts: Sequence[str]) -> int | None:
    """The number of the option that an answer names, by its letter or by its own words; None for anything else.

    >>> options = ["A dog is there.", "There is no dog."]
    >>> [parse_letter(said, options) for said in ("B", "(b)", "Answer: A", "B. There is no dog.", "There is no dog")]
    [1, 1, 0, 1, 1]
    >>> [
    ...     parse_letter(said, options)
    ...     for said in ("A dog", "A or B", "C", "I cannot see the image.", "A. There is no dog.")
    ... ]
    [None, None, None, None, None]
    """
    said = _THINKING.sub("", answer).strip()
    if not said or said.lower().startswith("<think>"):
        return None
    by_words = [at for at, text in enumerate(texts) if _words(text) == _words(said)]
    if len(by_words) == 1:
        return by_words[0]
    if found := _BARE.match(said):
        return _number(found[1], texts)
    found = _LETTER.match(said)
    at = _number(found[1], texts) if found else None
    if found is None or at is None:
        return None
    rest = said[found.end() :]
    # what follows the letter must be the option that it names, not another one, and no second letter
    return at if _words(rest) == _words(texts[at]) else None


def texts() -> dict[str, str]:
    """Every text that bears on the answers, for the fingerprint."""
    return {"ask_letter": ASK_LETTER, "answer_letter": ANSWER_LETTER, "ask_caption": ASK_CAPTION}


def _number(letter: str, texts: Sequence[str]) -> int | None:
    at = LETTERS.index(letter.upper())
    return at if at < len(texts) else None


def _words(text: str) -> list[str]:
    plain = unicodedata.normalize("NFKC", text).replace("\u2019", "'").lower()
    return re.findall(r"[\w']+", plain)
