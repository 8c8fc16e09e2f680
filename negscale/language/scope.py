"""Scope of negation in captions: which words each cue denies.

Not from a paper: the published pipelines take any caption with a negation word for a negated caption. Each cue gets a
*core* (``start`` to ``end``), the phrase it denies, and a *reach*, the core with its trailing modifiers: in "no dogs in
the park" the dogs are denied and the park is merely mentioned. Rules, in the order in which they were needed: clause
borders, coordination ("no dogs or cats" against "no hat and a dog"), predicates that deny their subject ("the hat is
missing"), double negation, and look-alikes ("no parking sign").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from negscale.language.caches import SENTENCES
from negscale.language.cues import Cue, Form, match_cue, pseudo_cue_length
from negscale.language.tokens import Token, tokenise, word_set

Position = Literal["early", "middle", "late"]
POSITIONS: Final[tuple[Position, ...]] = ("early", "middle", "late")


@dataclass(frozen=True, slots=True)
class NegatedSpan:
    """One negation: the cue, its form, what it denies as token indices (half open), and where in the caption it stands.

    ``start:end`` is the denied phrase, ``reach_start:reach_end`` the phrase with its modifiers, ``cue_start:cue_end`` the
    cue itself; ``implied`` are lemmas the cue denies without naming them ("unoccupied": people).
    """

    cue: str
    form: Form
    start: int
    end: int
    position: Position
    cue_start: int
    cue_end: int
    reach_start: int
    reach_end: int
    implied: frozenset[str]


_CLAUSE_BREAKS: Final = word_set(
    "but while whilst although though yet so because if when where whereas unless until as & plus"
)
_RELATIVES: Final = frozenset({"that", "which", "who", "whose", "where"})
EXCEPTIONS: Final = frozenset({"except", "excepting", "but", "besides", "save", "beyond"})
# Cues that may be cancelled by a "not" or "no" before them: "not without a hat" states the hat.
CANCELLABLE: Final = word_set(
    "without lacking missing absent devoid empty free unoccupied deserted vacant uninhabited invisible lack lacks"
)
_SEEN: Final = word_set("seen found shown pictured depicted spotted displayed featured visible present")
_NP_PARTS: Final = frozenset({"DET", "ADJ", "NUM", "NOUN", "PART", "ADV"})


@lru_cache(maxsize=SENTENCES)
def negated_spans(text: str, *, keep_double: bool = False) -> tuple[NegatedSpan, ...]:
    """Every negation of ``text`` with what it denies, in order of the cues; look-alikes left out.

    Double negations ("not without a hat", "not empty") cancel unless ``keep_double``.
    """
    tokens = tokenise(text)
    found = _find_cues(tokens, keep_double)
    cue_starts = {at for at, _ in found}
    num_words = sum(token.is_word for token in tokens)
    spans: list[NegatedSpan] = []
    for at, cue in found:
        stop = at + len(cue.words)
        core, reach = _scope(tokens, at, stop, cue, cue_starts)
        if cue.words == ("nor",) and any(span.start <= at < span.reach_end for span in spans):
            continue
        words_before = sum(token.is_word for token in tokens[:at])
        third = 3 * words_before // max(num_words, 1)
        spans.append(
            NegatedSpan(cue.text, cue.form, *core, POSITIONS[min(third, 2)], at, stop, *reach, cue.implied),
        )
    return tuple(spans)


def _find_cues(tokens: Sequence[Token], keep_double: bool) -> list[tuple[int, Cue]]:
    found: list[tuple[int, Cue]] = []
    at = 0
    while at < len(tokens):
        skip = pseudo_cue_length(tokens, at)
        if skip:
            at += skip
            continue
        cue = match_cue(tokens, at)
        if cue is None:
            at += 1
            continue
        if found and not keep_double and _is_cancelled(tokens, found[-1], at, cue):
            found.pop()
        elif not (cue.words[0] in EXCEPTIONS and found and _same_clause(tokens, found[-1][0], at)):
            found.append((at, cue))
        at += len(cue.words)
    return found


def _is_cancelled(tokens: Sequence[Token], previous: tuple[int, Cue], at: int, cue: Cue) -> bool:
    """Whether the cue before makes a double negation with the one at ``at``: "not without", "no lack of", "never empty"."""
    before, previous_cue = previous
    if previous_cue.form not in ("not", "never", "no", "none") or not CANCELLABLE & set(cue.words):
        return False
    between = tokens[before + len(previous_cue.words) : at]
    if previous_cue.form == "no" and cue.words[0] not in ("lack", "absence"):
        return False
    return all(token.pos in ("ADV", "AUX") or token.lower in ("entirely", "completely") for token in between)


def _same_clause(tokens: Sequence[Token], start: int, stop: int) -> bool:
    return not any(token.lower in _CLAUSE_BREAKS or token.lower in ",;.:" for token in tokens[start:stop])


def _scope(
    tokens: Sequence[Token], at: int, stop: int, cue: Cue, cue_starts: set[int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    side = cue.reach
    if side == "either":
        side = _side_of_either(tokens, at, stop)
    if side == "self":
        return (at, stop), (at, stop)
    if side == "left":
        return _scan_left(tokens, at, stop)
    core_end, reach_end = _scan_right(tokens, stop, side == "verb_phrase", cue, cue_starts)
    if side == "verb_phrase" and cue.form == "not" and reach_end == stop:
        # "the man rides not", "ready to go, not": nothing follows, the clause before is denied
        region = _clause_start(tokens, at, stop_at_with=False)
        return (region, at), (region, at)
    return (stop, core_end), (stop, reach_end)


def _side_of_either(tokens: Sequence[Token], at: int, stop: int) -> str:
    """Whether "missing" and its like deny what follows ("missing a wheel", "a missing wheel") or their subject."""
    if stop >= len(tokens) or not tokens[stop].is_word:
        return "left"
    after = tokens[stop]
    if at and tokens[at - 1].pos == "DET":
        return "noun_phrase"
    if (
        after.pos == "VERB"
        and after.lower.endswith(("ed", "en"))
        and stop + 1 < len(tokens)
        and tokens[stop + 1].pos == "NOUN"
    ):
        return "noun_phrase"
    if after.pos in ("CONJ", "AUX", "PREP") or after.lower in _RELATIVES or after.pos == "VERB":
        return "left"
    if after.pos == "ADV" and (stop + 1 >= len(tokens) or tokens[stop + 1].pos not in ("DET", "NOUN", "ADJ", "NUM")):
        return "left"
    return "noun_phrase"


def _closes_list(tokens: Sequence[Token], comma: int) -> bool:
    """Whether the comma at ``comma`` separates items of a list that "or", "nor" or "and" closes without a new determiner."""
    for j in range(comma + 1, min(comma + 14, len(tokens))):
        token = tokens[j]
        if token.lower in ("or", "nor"):
            return True
        if token.lower == "and":
            return j + 1 < len(tokens) and tokens[j + 1].pos in ("NOUN", "ADJ")
        if not (token.pos in ("NOUN", "ADJ", "NUM", "DET") or token.lower == ","):
            return False
    return False


def _conjunct_is_new(tokens: Sequence[Token], conjunction: int, verbal: bool) -> bool:
    """Whether what follows "and" leaves the negation: a new noun phrase with determiner, a preposition, a clause."""
    if conjunction + 1 >= len(tokens):
        return True
    after = tokens[conjunction + 1]
    if after.pos in ("NOUN", "ADJ", "NUM"):
        # "no hat and people walk by": a noun followed by a finite verb opens a clause of its own
        following = tokens[conjunction + 2].pos if conjunction + 2 < len(tokens) else "PUNCT"
        return following == "AUX" and tokens[conjunction].lower != "or" and verbal
    return not (verbal and after.pos == "VERB" and after.lower.endswith("ing"))


def _scan_right(
    tokens: Sequence[Token], start: int, verb_phrase: bool, cue: Cue, cue_starts: set[int]
) -> tuple[int, int]:
    """Ends of core and reach of a cue that denies what stands to its right, from token ``start``."""
    verbal = verb_phrase
    seen_noun = seen_verb = seen_preposition = copula = False
    core_end: int | None = None
    clause_initial = _is_clause_initial(tokens, start - len(cue.words))
    j = start
    while j < len(tokens):
        token = tokens[j]
        if j in cue_starts and j > start and token.lower not in ("nor",) and match_is_word_cue(token):
            break
        if token.pos == "PUNCT":
            if token.lower == ",":
                if not _closes_list(tokens, j):
                    break
            elif token.lower in ".;:!?()[]{}|—–":
                break
        elif token.pos == "CONJ":
            if token.lower in ("or", "nor"):
                seen_noun = False
            elif token.lower in ("and", "&", "plus"):
                if _conjunct_is_new(tokens, j, verbal and not seen_noun):
                    break
            elif seen_noun or seen_verb or j > start:
                break
        elif token.lower in _RELATIVES and token.pos == "PRON":
            if seen_noun or seen_verb:
                break
        elif token.lower == "as" or token.lower in EXCEPTIONS:
            if j > start:
                break
        elif token.pos == "PREP":
            if token.lower == "of" or (j > start and tokens[j - 1].pos == "PREP"):
                pass
            elif cue.form == "none" and not seen_verb and core_end is None:
                # "nobody on the beach", "nothing in his hand": the pronoun is denied, the place is not
                core_end = j
            elif core_end is not None:
                if token.lower in ("with", "without"):
                    break
            elif seen_noun or (seen_verb and seen_preposition) or _ends_predicate(tokens, start, j, seen_verb, copula):
                core_end = j
                if token.lower in ("with", "without"):
                    break
            else:
                seen_preposition = True
        elif token.pos == "VERB":
            attributive = (
                token.lower.endswith(("ed", "en")) and j + 1 < len(tokens) and tokens[j + 1].pos in ("NOUN", "ADJ")
            )
            if attributive and seen_noun and tokens[j - 1].pos in ("NOUN", "ADJ"):
                j += 1  # "a foil covered plate"
                continue
            if seen_noun and verbal:
                break
            if seen_noun and core_end is None and j > start:
                # "no car coming", "no towels hanging": the participle belongs to the denied noun, its objects do not
                core_end = j + 1
            seen_verb = True
            verbal = verbal or not seen_noun
        elif token.pos == "AUX" and token.lower != "being":
            if seen_noun or (j > start and not verbal and tokens[j - 1].pos == "ADJ"):
                if clause_initial and core_end is None and not verb_phrase and cue.form in ("no", "neither", "none"):
                    verbal, seen_noun, copula = True, False, True
                elif clause_initial and core_end is not None:
                    pass
                else:
                    break
        elif token.pos == "NOUN":
            seen_noun = True
        elif token.pos == "PRON":
            seen_noun = seen_noun or token.lower not in ("there",)
        elif token.pos == "DET" and seen_noun and j and tokens[j - 1].pos in ("NOUN", "ADV"):
            break
        j += 1
    while j > start and tokens[j - 1].pos in ("CONJ", "PUNCT"):
        j -= 1
    return min(core_end if core_end is not None else j, j), j


def _ends_predicate(tokens: Sequence[Token], start: int, at: int, seen_verb: bool, copula: bool) -> bool:
    """Whether the preposition at ``at`` opens a mere place: "not open [on]", "no cat is [on]", "no cat can be seen [in]"."""
    before = tokens[at - 1]
    if at == start or (seen_verb and not (copula and before.lower in _SEEN)):
        return False
    return copula or before.pos == "ADJ"


def match_is_word_cue(token: Token) -> bool:
    """Whether a cue met inside a scope ends it: an affix or a descriptive cue ("no empty chairs") does not."""
    return token.pos != "ADJ"


def _is_clause_initial(tokens: Sequence[Token], at: int) -> bool:
    """Whether a cue at ``at`` opens a clause: sentence start, after a border, or after "there is"."""
    if at <= 0:
        return True
    before = tokens[at - 1]
    if before.lower in _CLAUSE_BREAKS or before.lower in ("and", ",", ";", ".", ":") or before.lower in _RELATIVES:
        return True
    return before.pos == "AUX" and at >= 2 and tokens[at - 2].lower == "there"


def _scan_left(tokens: Sequence[Token], at: int, stop: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Core and reach of a predicate that denies its subject, which ends before token ``at``."""
    j = at - 1
    relative = has_auxiliary = False
    while j >= 0 and (
        tokens[j].pos in ("AUX", "ADV", "PART") or tokens[j].lower in _RELATIVES or _shares_subject(tokens, j)
    ):
        relative = relative or tokens[j].lower in _RELATIVES
        has_auxiliary = has_auxiliary or tokens[j].pos == "AUX"
        if tokens[j].pos == "PART" and tokens[j].lower.startswith("'"):
            break
        j -= 1
    end = j + 1
    if relative:
        start = _noun_phrase_start(tokens, end)
        return (start, end), (start, end)
    region = _clause_start(tokens, end, stop_at_with=not has_auxiliary)
    if not has_auxiliary:
        start = _noun_phrase_start(tokens, end)
        poses = {token.pos for token in tokens[region:start] if token.lower != "of"}
        if start < end and (poses & {"VERB", "AUX"} or ("PREP" in poses and region == 0)):
            return (start, end), (region, end)
    core_end = end
    seen_noun = False
    for k in range(region, end):
        seen_noun = seen_noun or tokens[k].pos in ("NOUN", "PRON")
        if seen_noun and (tokens[k].pos == "VERB" or (tokens[k].pos == "PREP" and tokens[k].lower != "of")):
            core_end = k
            break
    return (region, core_end), (region, end)


def _shares_subject(tokens: Sequence[Token], at: int) -> bool:
    """Whether ``at`` joins a predicate to a subject before it: "a sign but absent", "a counter, which is missing"."""
    return tokens[at].lower in ("but", "yet", ",", "and") and at > 0 and tokens[at - 1].pos in ("NOUN", "VERB", "ADV")


def _noun_phrase_start(tokens: Sequence[Token], end: int) -> int:
    """Start of the noun phrase that ends before ``end``, with its "of" chains."""
    j = end
    while j > 0:
        token = tokens[j - 1]
        if token.pos == "DET" and not (j >= 2 and tokens[j - 2].pos == "DET"):
            j -= 1
            if not (j and tokens[j - 1].lower == "of"):
                break
        elif (
            token.pos in _NP_PARTS
            or (token.lower == "of" and j >= 2 and tokens[j - 2].pos == "NOUN")
            or (token.lower == "and" and j >= 2 and tokens[j - 2].pos in ("ADJ", "NOUN"))
        ):
            j -= 1
        else:
            break
    return j


def _clause_start(tokens: Sequence[Token], end: int, *, stop_at_with: bool) -> int:
    """Start of the clause whose subject ends before ``end``."""
    for j in range(end - 1, -1, -1):
        lower = tokens[j].lower
        if lower in _CLAUSE_BREAKS or lower in _RELATIVES or lower in ";.:!?" or (stop_at_with and lower == "with"):
            return j + 1
        if lower in ("and", ",") and _has_verb_before(tokens, j):
            return j + 1
    return 0


def _has_verb_before(tokens: Sequence[Token], at: int) -> bool:
    for token in reversed(tokens[:at]):
        if token.lower in _CLAUSE_BREAKS or token.lower in ";.:!?":
            return False
        if token.pos in ("VERB", "AUX", "PREP"):
            return True
    return False
