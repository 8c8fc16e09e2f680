"""Negations inside the caption: on its subject, behind a place, in a verb phrase, between commas."""

from collections.abc import Iterator

from negscale.language.attach import Shape, Subject, being_of
from negscale.language.lexicon import kinds
from negscale.language.noun_forms import is_one_of
from negscale.language.nouns import singular_word
from negscale.language.rewriting import CARRIED, MARK, Candidate, Job
from negscale.language.tokens import Token, possible_pos

_PLACE_PREPOSITIONS = frozenset(
    {
        "in",
        "on",
        "at",
        "near",
        "by",
        "through",
        "across",
        "along",
        "down",
        "over",
        "under",
        "beside",
        "behind",
        "around",
        "next",
        "against",
        "into",
        "beneath",
        "above",
        "atop",
    }
)


def on_subject(job: Job, subject: Subject) -> Iterator[Candidate]:
    """Right behind the leading noun phrase: "a woman not wearing a hat riding a horse"."""
    shape, w = job.shape, job.words
    if subject.after in ("end", "other"):
        return
    lead, rest = shape.text[: subject.end], shape.text[subject.end :].lstrip()
    joined = f"{lead} {MARK}"
    dressed = subject.after_word in ("wearing", "dressed", "with", "in", "holding", "carrying", "without")
    if subject.being == "person" and (job.worn or job.held):
        verb = "wearing" if job.worn else "carrying" if is_one_of(job.noun, CARRIED) else "holding"
        thing = job.on_person.worn
        who = "who are" if subject.many else "who is"
        if not dressed:
            # Commas keep "a tie paddles" from being read as one noun phrase.
            opening, ending = (lead + ",", ",") if _looks_like_noun(shape, subject) else (lead, "")
            nothing = job.on_person.after_no
            yield Candidate(f"{opening} {MARK}not {verb} {thing}{ending} {rest}", "not", "verb_phrase", 7.0)
            yield Candidate(f"{opening} {MARK}without {thing}{ending} {rest}", "without", "prepositional_phrase", 5.0)
            yield Candidate(f"{opening} {verb} {MARK}no {nothing}{ending} {rest}", "no", "verb_phrase", 1.5)
            if job.worn:
                yield Candidate(f"{opening} with {MARK}no {nothing}{ending} {rest}", "no", "prepositional_phrase", 4.0)
        if subject.after == "finite" and not _looks_like_noun(shape, subject):
            yield Candidate(f"{lead} {who} {MARK}not {verb} {thing} {rest}", "not", "verb_phrase", 2.0)
        return
    if subject.being in ("place", "surface"):
        if not _fits(job.noun, subject.head, surface=subject.being == "surface"):
            return
        yield from _on_scene(job, subject, lead, rest)
        return
    if subject.being == "animal" and is_one_of(job.noun, kinds.ANIMAL_GEAR) and not dressed:
        yield Candidate(f"{joined}without {w.worn} {rest}", "without", "prepositional_phrase", 3.0)
        yield Candidate(f"{joined}not wearing {w.worn} {rest}", "not", "verb_phrase", 3.0)
        yield Candidate(f"{lead} with {MARK}no {w.after_no} {rest}", "no", "prepositional_phrase", 2.0)
        return
    if subject.after in ("participle", "finite") and not (shape.existential and subject.after == "finite"):
        yield Candidate(f"{lead}, with {MARK}no {w.after_no} {job.where}, {rest}", "no", "prepositional_phrase", 1.5)
        yield Candidate(
            f"{lead}, {MARK}without {w.any_of} {job.nearby}, {rest}", "without", "prepositional_phrase", 1.5
        )
        yield Candidate(f"{lead}, in a scene {MARK}devoid of {w.bare}, {rest}", "lexical", "prepositional_phrase", 0.25)


def _looks_like_noun(shape: Shape, subject: Subject) -> bool:
    """True if the finite verb after the subject could be a noun as well ("paddles", "rides")."""
    return subject.after == "finite" and "NOUN" in possible_pos(subject.after_word)


def _on_scene(job: Job, subject: Subject, lead: str, rest: str) -> Iterator[Candidate]:
    w = job.words
    have = "do" if subject.many else "does"
    comma = "," if subject.after == "participle" else ""
    if subject.after_word in ("with", "containing", "featuring"):
        # "but" closes the negation off from what the scene does have.
        yield Candidate(f"{lead} with {MARK}no {w.after_no} but {rest}", "no", "prepositional_phrase", 3.0)
        yield Candidate(f"{lead} {MARK}without {w.any_of} but {rest}", "without", "prepositional_phrase", 2.5)
        yield Candidate(f"{lead} that {have} {MARK}not have {w.any_of}, {rest}", "not", "clause", 1.5)
        yield Candidate(f"{lead}, {MARK}devoid of {w.bare}, {rest}", "lexical", "prepositional_phrase", 1.2)
        return
    if subject.after in ("participle", "finite"):
        yield Candidate(f"{lead} with {MARK}no {w.after_no}{comma} {rest}", "no", "prepositional_phrase", 2.5)
        yield Candidate(f"{lead} {MARK}without {w.any_of}{comma} {rest}", "without", "prepositional_phrase", 2.5)
        yield Candidate(f"{lead} that {have} {MARK}not have {w.any_of}{comma} {rest}", "not", "clause", 2.0)
        yield Candidate(f"{lead}, {MARK}devoid of {w.bare}, {rest}", "lexical", "prepositional_phrase", 1.2)


def inside(job: Job) -> Iterator[Candidate]:
    """At phrase boundaries inside the first sentence."""
    shape, w, several = job.shape, job.words, job.several
    tokens, text = shape.tokens, shape.text
    person = shape.subject is not None and shape.subject.being == "person"
    for index in range(2, len(tokens)):
        token, before = tokens[index], tokens[index - 1]
        if token.lower in ("wearing", "holding", "carrying") and person:
            worn_here = token.lower == "wearing" and job.worn
            if worn_here or (token.lower != "wearing" and job.held and not job.worn):
                yield from _but_no(job, index + 1)
        if before.pos != "NOUN":
            continue
        head, tail = text[: before.end], text[before.end :].lstrip()
        if token.lower in ("while", "as") and token.pos in ("CONJ", "PREP") and index + 3 < len(tokens):
            yield Candidate(
                f"{head}, with {MARK}no {w.after_no} {job.where}, {tail}", "no", "prepositional_phrase", 2.0
            )
            yield Candidate(
                f"{head}, {MARK}without {w.any_of} {job.nearby}, {tail}", "without", "prepositional_phrase", 2.0
            )
        elif _opens_phrase(tokens, index) and index * 3 > len(tokens) and (tail[:1] != ","):
            in_place = _place_before(tokens, index, job.noun)
            if in_place:
                yield Candidate(f"{head} with {MARK}no {several.after_no}, {tail}", "no", "prepositional_phrase", 2.0)
                yield Candidate(
                    f"{head} {MARK}without {several.any_of}, {tail}", "without", "prepositional_phrase", 2.0
                )
                yield Candidate(
                    f"{head} that {_has(before)} {MARK}not have {several.any_of}, {tail}", "not", "clause", 1.5
                )
                yield Candidate(
                    f"{head} {MARK}devoid of {several.bare}, {tail}", "lexical", "prepositional_phrase", 1.5
                )
            elif _may_interrupt(shape, index):
                yield Candidate(
                    f"{head}, with {MARK}no {w.after_no} {job.where}, {tail}", "no", "prepositional_phrase", 0.8
                )
                yield Candidate(
                    f"{head}, {MARK}without {w.any_of} {job.nearby}, {tail}", "without", "prepositional_phrase", 0.8
                )
    if tokens and shape.num_sentences == 1 and _place_before(tokens, len(tokens), job.noun):
        yield Candidate(f"{text} with {MARK}no {several.after_no}", "no", "prepositional_phrase", 2.0)
        yield Candidate(f"{text} {MARK}without {several.any_of}", "without", "prepositional_phrase", 2.0)
        yield Candidate(f"{text} that {_has(tokens[-1])} {MARK}not have {several.any_of}", "not", "clause", 1.2)
        yield Candidate(f"{text} {MARK}devoid of {several.bare}", "lexical", "prepositional_phrase", 1.5)


def _but_no(job: Job, at: int) -> Iterator[Candidate]:
    """ "wearing a red shirt but no hat", where the phrase after the verb ends at a clear boundary."""
    tokens = job.shape.tokens
    stop = at
    while stop < len(tokens) and (tokens[stop].pos in ("DET", "ADJ", "NUM", "NOUN") or _coordinated(tokens, stop)):
        stop += 1
    if stop == at or tokens[stop - 1].pos != "NOUN" or any(_is_person(token) for token in tokens[at:stop]):
        return
    if stop < len(tokens) and tokens[stop].pos not in ("PREP", "VERB", "AUX") and tokens[stop].lower != "while":
        return
    if stop < len(tokens) and tokens[stop].lower in ("of", "with", "and"):
        return
    head, tail = job.shape.text[: tokens[stop - 1].end], job.shape.text[tokens[stop - 1].end :]
    yield Candidate(f"{head} but {MARK}no {job.on_person.after_no}{tail}", "no", "verb_phrase", 4.0)
    yield Candidate(f"{head} but {MARK}not {job.on_person.worn}{tail}", "not", "verb_phrase", 1.5)


def _coordinated(tokens: tuple[Token, ...], at: int) -> bool:
    return tokens[at].lower == "and" and at + 1 < len(tokens) and tokens[at + 1].pos in ("DET", "ADJ", "NUM", "NOUN")


def _opens_phrase(tokens: tuple[Token, ...], index: int) -> bool:
    token = tokens[index]
    if index + 1 >= len(tokens):
        return False
    if token.pos == "VERB" and token.lower.endswith("ing"):
        # Only while nobody but the subject can be the one who does it: "a woman in a restaurant, ..., pouring wine".
        return not any(earlier.pos in ("VERB", "AUX") or _is_person(earlier) for earlier in tokens[3:index])
    return token.pos == "PREP" and token.lower in _PLACE_PREPOSITIONS and tokens[index + 1].lower != "of"


def _may_interrupt(shape: Shape, index: int) -> bool:
    """True where a phrase between commas does not tear apart what belongs together ("a newspaper in its mouth")."""
    tokens = shape.tokens
    if shape.mood == "unknown" or shape.existential or tokens[index].pos != "PREP":
        return False
    if tokens[index + 1].lower in ("its", "his", "her", "their", "which", "the"):
        return False
    if any(token.lower in ("with", "of", "between") for token in tokens[max(0, index - 4) : index]):
        return False
    return any(token.pos == "VERB" for token in tokens[:index])


def _is_person(token: Token) -> bool:
    return token.pos == "NOUN" and being_of(token.lower) == "person"


def _fits(noun: str, place: str, *, surface: bool) -> bool:
    """True if a reader would look for ``noun`` there: "a street with no cars", but not "a table with no refrigerator"."""
    if surface:
        return is_one_of(noun, kinds.SMALL_THINGS)
    return is_one_of(noun, kinds.INDOOR_THINGS if place in kinds.INDOOR_PLACES else kinds.OUTDOOR_THINGS)


def _place_before(tokens: tuple[Token, ...], stop: int, noun: str) -> bool:
    """True if a place where ``noun`` could be ("down a busy street": cars) ends a prepositional phrase at ``stop``."""
    if stop < 3 or tokens[stop - 1].pos != "NOUN":
        return False
    name = tokens[stop - 1].lower
    if singular_word(name) not in kinds.PLACES or being_of(name) != "place":
        return False
    if not _fits(noun, singular_word(name), surface=False):
        return False
    index = stop - 1
    while index > 0 and tokens[index].pos in ("NOUN", "ADJ", "DET", "NUM"):
        index -= 1
    if tokens[index + 1].pos != "DET" and singular_word(name) == name:
        return False
    return tokens[index].pos == "PREP" and tokens[index].lower in _PLACE_PREPOSITIONS | {"inside", "outside"}


def _has(token: Token) -> str:
    return "do" if singular_word(token.lower) != token.lower else "does"
