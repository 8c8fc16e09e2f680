"""What the columns of exported rows mean, and which of them a card counts and shows."""

from __future__ import annotations

COUNTED = ("negation_form", "negation_position", "negation_kind", "caption_order", "question_type")
SHOWN = (
    "id", "image_uri", "caption", "expression", "question", "absent_object", "negated_caption", "negation_form",
    "negation_position", "negation_kind", "question_type", "options", "answer",
)  # fmt: skip
MEANING = {
    "id": "stable name of the row, from the source", "image_uri": "where the image lies, relative to the source's root",
    "image_offset": "first byte in the archive at image_uri; null for a file of its own",
    "image_length": "bytes in the archive at image_uri; null for a file of its own",
    "image_sha256": "hash of the encoded image, in hex, when the source gives one",
    "height_px": "height of the image", "width_px": "width of the image", "image_id": "the source's name of the image",
    "caption_id": "the source's name of the caption", "caption": "the source's caption",
    "image_captions": "every caption of the image", "absent_object": "the object that the new caption denies",
    "proposal_score": "the proposer's own score of the object", "presence_score": "the verifier's score of presence, 0 to 1",
    "verifier_raw": "what the verifier answered", "negated_caption": "the caption that states the absence",
    "negation_form": "how the absence is expressed", "negation_position": "third of the sentence in which it stands",
    "extracted_objects": "objects that the caption or the annotations state, before verification",
    "proposed_objects": "objects proposed as absent, before verification",
    "positive_objects": "objects of the image, verified where the recipe says so",
    "negative_objects": "objects verified as absent from the image",
    "absent_objects": "the absent objects that captions were written for, one row each",
    "caption_order": "whether the caption was asked to affirm or to deny first",
    "question_plans": "what the questions of the image say, one row each",
    "question_plan": "what each option says, before it was worded", "options": "the texts to choose from",
    "answer": "index of the true option", "question_type": "what the true option says (or VQA's label of the question)",
    "option_statements": "objects that each option affirms and denies",
    "question": "the question about the image", "question_id": "the source's name of the question",
    "answers": "what each annotator answered", "multiple_choice_answer": "the commonest answer",
    "no_votes": "annotators who answered no", "votes": "annotators who answered",
    "negation_kind": "what is denied: an object, an attribute or an action",
    "expression": "the referring expression", "boxes_xywh_px": "candidate boxes: left, top, width, height in pixels",
    "candidate_ids": "annotation ids of the candidates", "target": "index of the box that the expression means",
    "denial_checked": "whether annotations confirm that the denial holds of the target",
    "all_negatives_fail": "whether annotations show it false of every other candidate; null = they cannot tell",
    "finding": "the finding that the texts name", "finding_present": "whether the image has it",
}  # fmt: skip
