"""The tiny model's answer to P2's merge prompt (NegationCLIP, arXiv 2501.10913, section 3.1): a grammar for an LLM.

It reads caption and question out of the prompt as a model would, and now and then wraps its answer in talk or says that
it cannot, as models do.
"""

from __future__ import annotations

import re

import numpy as np

from negscale.language.merge import CannotMerge, merge_no

MALFORMED = ("", "I'm sorry, but I cannot add that to the caption.", "\ufffd\ufffd {{[[", "no\nno\nno")

_MERGE = re.compile(
    r"caption ['\"](?P<caption>.*?)['\"] it was asked ['\"](?P<question>.*?)['\"],? and the answer is ['\"]no['\"]",
    re.I | re.S,
)


def merge_answer(asked: str, rng: np.random.Generator) -> str | None:
    """What a model says to the merge prompt; None when `asked` is another prompt."""
    found = _MERGE.search(asked)
    if found is None:
        return None
    try:
        text = merge_no(found["question"], found["caption"], rng).text
    except CannotMerge as error:
        return f"I'm sorry, but I cannot do that: {error.kind}."
    talk = rng.random()
    return f'Here is the caption: "{text}"' if talk < 0.1 else f'"{text}"' if talk < 0.2 else text
