"""Which words of a caption are new against another one, for highlighting."""

from __future__ import annotations

import re
from difflib import SequenceMatcher

_TOKEN = re.compile(r"\s*(?:\w+(?:['’-]\w+)*|[^\w\s])|\s+")
_MAX_TOKENS = 1000  # the comparison is quadratic at worst
Segments = list[tuple[str, bool]]  # (text, whether it differs); the texts joined are the caption


def word_diff(old: str, new: str) -> tuple[Segments, Segments]:
    """(old with the words that went marked, new with the words that came marked). Letter case does not count.

    >>> word_diff("A dog runs.", "A dog runs without a leash.")[1]
    [('A dog runs', False), (' without a leash', True), ('.', False)]
    """
    before, after = _TOKEN.findall(old), _TOKEN.findall(new)
    if max(len(before), len(after)) > _MAX_TOKENS:
        return [(old, False)], [(new, False)]
    matcher = SequenceMatcher(None, [_key(t) for t in before], [_key(t) for t in after], autojunk=False)
    gone: Segments = []
    came: Segments = []
    for tag, i, j, k, m in matcher.get_opcodes():
        _add(gone, "".join(before[i:j]), tag != "equal")
        _add(came, "".join(after[k:m]), tag != "equal")
    return gone, came


def _key(token: str) -> str:
    return token.strip().casefold()


def _add(segments: Segments, text: str, differs: bool) -> None:
    if text and segments and segments[-1][1] == differs:
        segments[-1] = (segments[-1][0] + text, differs)
    elif text:
        segments.append((text, differs))
