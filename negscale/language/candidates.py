"""Every way the realiser knows to state an absence in one caption: whole sentences with the negation cue marked.

Wordings are grouped by what they attach to: the end of the caption, its beginning and a frame around it here, its
subject or a place inside it in ``candidates_inside.py``. A candidate's weight says how well it reads there;
``realise.py`` chooses.
"""

from collections.abc import Iterator

from negscale.language.attach import Shape
from negscale.language.candidates_inside import inside, on_subject
from negscale.language.lexicon import kinds
from negscale.language.noun_forms import ObjectWords, is_one_of, object_words
from negscale.language.nouns import usually_plural
from negscale.language.rewriting import CARRIED, MARK, Candidate, Job
from negscale.language.tokens import lexicon_lemmas

_AROUND = ("in sight", "nearby", "around", "in view", "to be seen")
_WITHIN = ("in sight", "in view", "to be seen", "visible")
_PHOTO = ("photo", "picture", "image", "photo", "picture")
_STATES = frozenset(
    {
        "sit",
        "stand",
        "lie",
        "lay",
        "rest",
        "hang",
        "contain",
        "have",
        "include",
        "feature",
        "show",
        "line",
        "stay",
        "look",
        "seem",
        "appear",
        "fill",
        "cover",
    }
)


def candidates(shape: Shape, noun: str, words: ObjectWords, draw: float) -> list[Candidate]:
    """All wordings for one caption; never empty. ``draw`` in [0, 1) varies locative phrases ("in sight", "nearby")."""
    places = _AROUND if is_one_of(noun, kinds.LARGE) else _WITHIN
    where = places[int(draw * len(places))]
    job = Job(
        shape=shape,
        noun=noun,
        words=words,
        on_person=object_words(noun, usually_plural(noun) or (shape.subject is not None and shape.subject.many)),
        several=object_words(noun, in_plural=not is_one_of(noun, kinds.SOLE)),
        where=where,
        nearby="in sight" if where in ("visible", "to be seen") else where,
        photo=_PHOTO[int(draw * 977) % len(_PHOTO)],
        lower=_lowered(shape),
        worn=is_one_of(noun, kinds.WEARABLE),
        held=is_one_of(noun, kinds.HANDHELD),
    )
    if shape.closing == "?":
        return list(_own_sentence(job))
    found = list(_at_end(job))
    if shape.num_sentences > 1:
        found += _own_sentence(job)
    if not shape.shouted and not shape.negated:
        found += _photo_frame(job)
    found += _at_start(job)
    if not shape.negated:
        found += inside(job)
        if shape.subject is not None:
            found += on_subject(job, shape.subject)
    return found


def _lowered(shape: Shape) -> str:
    text = shape.text
    first = shape.tokens[0] if shape.tokens else None
    if first is None or not text[0].isupper() or shape.shouted:
        return text
    word = first.lower
    if word in kinds.PROPER_WORDS or (len(first.text) > 1 and first.text.isupper()):
        return text
    if first.pos not in ("DET", "NUM", "PREP", "PRON", "ADV", "AUX", "CONJ") and not lexicon_lemmas(word):
        return text
    return text[0].lower() + text[1:]


def _own_sentence(job: Job) -> Iterator[Candidate]:
    """A sentence of its own after the caption."""
    shape, w = job.shape, job.words
    before = f"{shape.text}{shape.closing or '.'} "
    yield Candidate(f"{before}There {w.are_no} {MARK}no {w.after_no} {job.where}", "no", "clause", 1.5)
    yield Candidate(f"{before}{_cap(w.subject)} {w.are} {MARK}not visible", "not", "clause", 1.0)
    yield Candidate(f"{before}The scene is {MARK}without {w.any_of}", "without", "clause", 0.4)
    yield Candidate(f"{before}{_cap(w.subject)} {w.are} {MARK}absent from the scene", "lexical", "clause", 0.8)


def _at_end(job: Job) -> Iterator[Candidate]:
    shape, w, where = job.shape, job.words, job.where
    text = shape.text
    link = "and" if shape.negated else "but"
    sentence = shape.mood == "finite" and shape.num_sentences == 1
    yield Candidate(f"{text}, with {MARK}no {w.after_no} {where}", "no", "prepositional_phrase", 3.0)
    yield Candidate(f"{text}, {link} there {w.are_no} {MARK}no {w.after_no}", "no", "clause", 2.0)
    yield Candidate(f"{text}, and there {w.are_no} {MARK}no {w.after_no} {where}", "no", "clause", 1.5)
    yield Candidate(f"{text}, {link} {MARK}no {w.after_no} {w.are_no} visible", "no", "clause", 1.5)
    yield Candidate(f"{text}, and {MARK}no {w.after_no} can be seen", "no", "clause", 2.0 if sentence else 1.2)
    yield Candidate(f"{text}, with {MARK}no {w.after_no} anywhere in the scene", "no", "prepositional_phrase", 1.0)
    yield Candidate(f"{text}, {MARK}without {w.any_of} {job.nearby}", "without", "prepositional_phrase", 2.5)
    yield Candidate(f"{text}, {MARK}without {w.any_of} in the {job.photo}", "without", "prepositional_phrase", 1.0)
    yield Candidate(f"{text}, {link} {w.subject} {w.are} {MARK}not visible", "not", "clause", 2.0)
    yield Candidate(f"{text}, {link} there {_isnt(w)} {w.any_of} {where}", "not", "clause", 1.5)
    yield Candidate(f"{text}, {link} the scene does {MARK}not include {w.any_of}", "not", "clause", 1.5)
    yield Candidate(f"{text}, {link} the {job.photo} does {MARK}not show {w.any_of}", "not", "clause", 1.5)
    yield Candidate(f"{text}, although {w.subject} {w.are} {MARK}not present", "not", "clause", 0.8)
    yield Candidate(f"{text}, in a scene {MARK}devoid of {w.bare}", "lexical", "prepositional_phrase", 1.2)
    yield Candidate(f"{text}, {link} the scene {MARK}lacks {_lacked(w)}", "lexical", "clause", 1.5)
    yield Candidate(f"{text}, with {w.bare} {MARK}absent from the scene", "lexical", "prepositional_phrase", 1.0)
    yield Candidate(f"{text}, {link} {w.subject} {w.are} {MARK}nowhere to be seen", "none", "clause", 1.5)
    subject = shape.subject
    if subject is None or shape.num_people != 1 or subject.being != "person" or shape.num_sentences > 1:
        return
    if subject.after in ("end", "other") or shape.negated:
        return
    p = job.on_person
    if job.worn:
        yield Candidate(f"{text}, {MARK}not wearing {p.worn}", "not", "verb_phrase", 8.0)
        yield Candidate(f"{text}, wearing {MARK}no {p.after_no}", "no", "verb_phrase", 5.0)
        yield Candidate(f"{text}, {MARK}without {p.worn} on", "without", "prepositional_phrase", 5.0)
    elif job.held:
        hand = "in hand" if not subject.many else "in their hands"
        verb = "carrying" if is_one_of(job.noun, CARRIED) else "holding"
        yield Candidate(f"{text}, {MARK}not {verb} {p.worn}", "not", "verb_phrase", 6.0)
        yield Candidate(f"{text}, with {MARK}no {p.after_no} {hand}", "no", "prepositional_phrase", 3.0)
        yield Candidate(f"{text}, {MARK}without {p.any_of} {hand}", "without", "prepositional_phrase", 2.5)


def _at_start(job: Job) -> Iterator[Candidate]:
    """A phrase or clause before the whole caption; a noun-phrase caption takes only the phrases."""
    shape, w, where, rest = job.shape, job.words, job.where, job.lower
    subject = shape.subject
    listed = subject is not None and " and " in shape.text[: subject.end]
    if shape.mood == "finite":
        link = " as" if _happens(shape) else ", but"
        if not listed:  # "without a hat, a boy and a girl" looks like a list of what is not there
            yield from _leading_phrases(job)
        yield Candidate(f"there {w.are_no} {MARK}no {w.after_no} {where}{link} {rest}", "no", "clause", 1.5)
        yield Candidate(f"there {_isnt(w)} {w.any_of} {where}{link} {rest}", "not", "clause", 1.5)
        yield Candidate(f"the {job.photo} does {MARK}not show {w.any_of}, but {rest}", "not", "clause", 1.0)
        yield Candidate(f"the scene {MARK}lacks {_lacked(w)}, but {rest}", "lexical", "clause", 0.8)
        if _happens(shape):
            yield Candidate(f"{MARK}no {w.after_no} {w.are_no} visible as {rest}", "no", "clause", 2.0)
            yield Candidate(f"{MARK}no {w.after_no} can be seen as {rest}", "no", "clause", 1.5)
            yield Candidate(f"{w.subject} {w.are} {MARK}not visible as {rest}", "not", "clause", 1.5)
            yield Candidate(f"{w.subject} {w.are} {MARK}nowhere to be seen as {rest}", "none", "clause", 1.0)
            yield Candidate(
                f"{w.bare} {w.bare_are} {MARK}absent from the scene, where {rest}", "lexical", "clause", 0.6
            )
    elif shape.mood == "nominal" and not shape.pictorial_end:
        weight = 1.2 if subject is not None and subject.after in ("participle", "finite") and not listed else 0.4
        yield Candidate(f"with {MARK}no {w.after_no} {where}, {rest}", "no", "prepositional_phrase", weight)
        yield Candidate(f"{MARK}without {w.any_of} {job.nearby}, {rest}", "without", "prepositional_phrase", weight)
        yield Candidate(f"a scene {MARK}devoid of {w.bare}, with {rest}", "lexical", "prepositional_phrase", 0.7)
        yield Candidate(f"a scene {MARK}without {w.any_of}, with {rest}", "without", "prepositional_phrase", 0.7)
    else:
        # Any caption can follow as a sentence of its own.
        yield Candidate(f"there {w.are_no} {MARK}no {w.after_no} {where}. {_cap(shape.text)}", "no", "clause", 0.8)
        yield Candidate(f"{w.subject} {w.are} {MARK}not visible here. {_cap(shape.text)}", "not", "clause", 0.8)


def _leading_phrases(job: Job) -> Iterator[Candidate]:
    w, rest = job.words, job.lower
    yield Candidate(f"with {MARK}no {w.after_no} {job.where}, {rest}", "no", "prepositional_phrase", 2.5)
    yield Candidate(f"{MARK}without {w.any_of} {job.nearby}, {rest}", "without", "prepositional_phrase", 2.0)
    yield Candidate(f"in a scene {MARK}without {w.any_of}, {rest}", "without", "prepositional_phrase", 1.5)
    yield Candidate(f"in a scene {MARK}devoid of {w.bare}, {rest}", "lexical", "prepositional_phrase", 1.5)


def _happens(shape: Shape) -> bool:
    """True for an event ("a dog runs", "a dog is running"): "as a dog runs" works, "as a dog is white" does not."""
    subject = shape.subject
    if shape.existential or subject is None:
        return False
    if subject.after != "finite":
        return True
    ends = [index for index, token in enumerate(shape.tokens) if token.end == subject.end]
    verb = ends[0] + 1 if ends else len(shape.tokens)
    if verb >= len(shape.tokens):
        return False
    if shape.tokens[verb].pos != "AUX":
        return subject.being in ("person", "animal") or shape.tokens[verb].lemma not in _STATES
    return any(token.pos == "VERB" and token.lower.endswith("ing") for token in shape.tokens[verb + 1 : verb + 4])


def _photo_frame(job: Job) -> Iterator[Candidate]:
    """ "This photo of ... does not show ...": only around a caption that is a noun phrase."""
    shape, w = job.shape, job.words
    subject = shape.subject
    if shape.mood != "nominal" or shape.num_sentences > 1 or subject is None or not shape.tokens:
        return
    first = shape.tokens[0]
    if shape.pictorial_end:
        if first.lower not in ("a", "an", "the", "this"):
            return
        frame = "this" + shape.text[first.end :]
    elif first.pos in ("DET", "NUM") or subject.many:
        frame = f"this {job.photo} of {job.lower}"
    else:
        return
    yield Candidate(f"there {w.are_no} {MARK}no {w.after_no} in {frame}", "no", "clause", 2.5)
    yield Candidate(f"{MARK}no {w.after_no} {w.are_no} visible in {frame}", "no", "clause", 2.0)
    yield Candidate(f"{MARK}no {w.after_no} can be seen in {frame}", "no", "clause", 1.5)
    yield Candidate(f"there {_isnt(w)} {w.any_of} in {frame}", "not", "clause", 2.0)
    yield Candidate(f"{w.subject} {w.are} {MARK}not visible in {frame}", "not", "clause", 2.0)
    yield Candidate(f"{w.subject} {w.are} {MARK}absent from {frame}", "lexical", "clause", 1.0)
    if len(shape.tokens) <= 11 and "," not in shape.text:
        yield Candidate(f"{frame} does {MARK}not show {w.any_of}", "not", "clause", 1.5)
        yield Candidate(f"{frame} contains {MARK}no {w.after_no}", "no", "clause", 1.0)
        yield Candidate(f"{frame} {MARK}lacks {_lacked(w)}", "lexical", "clause", 1.0)
        yield Candidate(f"in {frame}, {MARK}no {w.after_no} {w.are_no} visible", "no", "clause", 1.0)
        yield Candidate(f"in {frame}, there {_isnt(w)} {w.any_of}", "not", "clause", 1.0)


def _isnt(w: ObjectWords) -> str:
    """ "isn't" with the mark inside, before its "n't" would be read as a word of its own."""
    return f"{MARK}{w.arent_any}"


def _lacked(w: ObjectWords) -> str:
    """After "lacks": "lacks a chair", "lacks people", "lacks snow"."""
    return w.any_of.removeprefix("any ")


def _cap(text: str) -> str:
    return text[:1].upper() + text[1:]
