"""Strict parsers of model answers: a value, or None when the answer is something else. None is never a default.

The released parsers disagree: ``"yes" in answer`` (NegationCLIP) calls "I see no eyes" a yes, ``answer == "Yes"`` (NeIn)
calls "Yes." a no, and both take anything else for a no. Here refusals, code fences, JSON, loops, echoes of the
instruction and other scripts are None. What is fluent English but wrong is the caption check's business.
"""

from __future__ import annotations

import re
import unicodedata

_THINKING = re.compile(r"^\s*<think>.*?</think>", re.DOTALL | re.IGNORECASE)  # of reasoning models, before the answer
# what follows a bare yes or no must read on as a statement about the picture: "No puedo verlo" is no "no"
_YES_NO = re.compile(
    r"^[\s\"'“‘*(]*(yes|no)\b(?=[\s\"'”’*)]*(?:$|[.,;:!\n—–-])|\s+(?:there|it|i|the|this|they|a|an)\b)", re.IGNORECASE
)
_BOTH = re.compile(r"\byes\b.*\bno\b|\bno\b[,.]?\s+yes\b", re.IGNORECASE | re.DOTALL)
_OBJECT = re.compile(r"^[^\W\d_][\w'’-]*(?: [\w'’-]+){0,2}$")
_NO_OBJECT = re.compile(
    r"(?:yes|no|not|none|no(?:thing|body)|(?:some|any|every)thing|unknown|unclear|sorry|sure|okay|ok|null|nil|nan|true|false"
    r"|undefined|error|objects?|item|caption|answer|image|assistant|user|json)\b"
)
# words of sentences, not of names; "of" may stand within ("glass of water") but not at the end
_IN_SENTENCES = re.compile(
    r"(?:^|\s)(?:an?|the|i|you|we|it|this|that|these|those|there|here|which|who|what|is|are|was|were|be|has|have|had|do|does"
    r"|did|shows|not|no|or|but|can't|cannot|don't|could|would|should|may|might|maybe|perhaps|probably|likely)(?:\s|$)"
)
_NOT_AT_END = frozenset({"of", "and", "in", "on", "at", "with", "without", "to", "for", "from", "by", "as"})
_LEAD = re.compile(r"^(?:an?|the|some|any)\s+", re.IGNORECASE)
_PREAMBLE = re.compile(
    r"^(?:sure|certainly|of course|okay|ok|here(?:'s| is| you go)|caption|answer|the (?:new |negated |updated )?caption"
    r"(?: is| with)?)\b[^:\n]*:\s*",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:i|we)(?:'m| am| are|'re)? (?:(?:really|very|so|afraid|deeply) )*(?:sorry|unable|not able|not sure|cannot|can't"
    r"|could not|couldn't|won't|will not|do not|don't|apologi[sz]e|must decline)\b"
    r"|\bas an? (?:ai|artificial|language model|large language)\b|\b(?:ai|language) model\b|\bnot sure\b"
    r"|\b(?:cannot|can't|unable to) (?:assist|comply|fulfil|help with|provide)|^\W*(?:sorry|my apologies|apologies"
    r"|unfortunately)\b",
    re.IGNORECASE,
)
# narrower: "No, I don't see a cat" is an answer
_NO_LOOK = re.compile(
    r"\bsorry\b|\bunable\b|\bassist\b|\bhelp\b|\bas an? (?:ai|language)|\blanguage model\b|\b(?:cannot|can't|could not|couldn't)"
    r" (?:view|process|access|answer|determine|tell|see (?:the|this|an|any) (?:image|picture|photo))|\bnot sure\b",
    re.IGNORECASE,
)
_MARKUP = re.compile(r"```|^\s*[\[{]|[\]}]\s*$|\"\s*:\s*\"|</?[a-z_|]+/?>|<\|")
_LOOP = re.compile(
    r"\b(\w+)(?:\W+\1\b){3,}"  # very very very very
    r"|\b(\w+(?:\W+\w+){1,7}?)\b(?:\W+\2\b){2,}"  # with no hat with no hat with no hat
    r"|([^\W\d_])\3{5,}",  # aaaaaa
    re.IGNORECASE,
)
_LONGEST = 1000  # characters; loops and essays are cut there, and the loop pattern stays quick
_CUT = re.compile(r"(?:\b(?:an?|the|and|or|but|nor|with|without|no|its|their|his)|[,;:(–—-])$", re.IGNORECASE)
_LATIN = ("LATIN", "MODIFIER", "ORDINAL", "MICRO")  # words in the Unicode names of letters that Latin text uses
_PLACEHOLDER = re.compile(r"\{\w+\}")
_ECHO_WORDS = 4  # so many words of the instruction in a row are no accident


def parse_yes_no(answer: str) -> bool | None:
    """True, False, or None when the answer is neither.

    Looks at the first word only, and at nothing else when it says both: "Yes, there is." is a yes, "I see no eyes" and
    "yes and no" are unparsable. So is a "no" that goes on as a refusal or in another language.

    >>> parse_yes_no(" Yes."), parse_yes_no("No, there is not"), parse_yes_no("eyes"), parse_yes_no("Yes and no")
    (True, False, None, None)
    >>> parse_yes_no("No, I'm sorry, I can't help with that."), parse_yes_no("No puedo ver la imagen")
    (None, None)
    """
    text = _spoken(answer)
    found = _YES_NO.match(text)
    if not found or _BOTH.search(text[:40]) or _NO_LOOK.search(_plain(text)):
        return None
    return found[1].lower() == "yes"


def parse_object(answer: str) -> str | None:
    """An object name of one to three words in lower case, without article and final dot; None for anything else.

    >>> parse_object("Umbrella."), parse_object("a hot dog"), parse_object("I would say a hat or a coat, maybe")
    ('umbrella', 'hot dog', None)
    >>> parse_object("Sorry"), parse_object("帽子"), parse_object("hat hat hat"), parse_object("I’m sorry")
    (None, None, None, None)
    """
    text = _spoken(answer).strip("\"'`*").rstrip(".! ").strip("\"'`*")
    text = _LEAD.sub("", text).lower()
    words = text.split()
    if not _OBJECT.match(text) or _REFUSAL.search(_plain(text)) or _foreign(text, ""):
        return None
    if _NO_OBJECT.match(text) or _IN_SENTENCES.search(_plain(text)) or words[-1] in _NOT_AT_END:
        return None
    return None if len(words) > 2 and len(set(words)) == 1 else text


def parse_caption(answer: str, caption: str = "", instruction: str = "") -> str | None:
    """The one-line caption in an answer, without chatty preamble and enclosing quotes; None when there is none.

    caption: what was to be rewritten; an oddity that it has itself ("i cannot", Cyrillic letters, a comma at the end) is
    none of the answer's. instruction: the prompt's template, with ``{placeholders}``; an answer that repeats it is no
    caption.

    >>> parse_caption('Here is the caption: "a dog with no ball"')
    'a dog with no ball'
    >>> parse_caption("I'm sorry, I cannot do that.") is None, parse_caption("a dog 没有球 in the park") is None
    (True, True)
    >>> parse_caption('{"caption": "a dog with no ball"}') is None, parse_caption("a dog in the park without a") is None
    (True, True)
    """
    text = _PREAMBLE.sub("", _spoken(answer)).strip()
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) != 1 or len(text) > _LONGEST:
        return None
    text = lines[0]
    if len(text) > 1 and text[0] in "\"'“‘`" and text[-1] in "\"'”’`":
        text = text[1:-1].strip()
    if not any(c.isalpha() for c in text) or _foreign(text, caption) or _echoes(text, instruction):
        return None
    if _CUT.search(text) and not _CUT.search(caption.strip()):
        return None
    return None if any(_adds(pattern, text, caption) for pattern in (_REFUSAL, _MARKUP, _LOOP)) else text


def _spoken(answer: str) -> str:
    """The answer without a reasoning model's thoughts."""
    text = _THINKING.sub("", answer).strip()
    return "" if text.lower().startswith("<think>") else text  # cut off while it still thought


def _plain(text: str) -> str:
    return text.replace("’", "'")


def _adds(pattern: re.Pattern[str], text: str, source: str) -> bool:
    """Whether `pattern` finds in `text` what `source` does not have."""
    found = pattern.search(_plain(text))
    return found is not None and found[0].lower() not in _plain(source).lower()


def _foreign(text: str, source: str) -> bool:
    """Whether `text` has letters of a script other than Latin that `source` does not have."""
    known = set(source)
    return any(
        c.isalpha() and not c.isascii() and c not in known and not any(k in unicodedata.name(c, "") for k in _LATIN)
        for c in text
    )


def _echoes(text: str, instruction: str) -> bool:
    """Whether `text` repeats the words of `instruction` between two placeholders."""
    said = _words(text)
    parts = [_words(part) for part in _PLACEHOLDER.split(instruction)]
    return any(len(part.split()) >= _ECHO_WORDS and f" {part} " in f" {said} " for part in parts)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
