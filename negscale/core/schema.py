"""Arrow schemas of every record. Field names carry their unit where one exists."""

from __future__ import annotations

import pyarrow as pa

IMAGE = pa.struct([  # where the encoded bytes lie; `uri` is relative to the source's image root
    ("uri", pa.string()), ("offset", pa.int64()), ("length", pa.int64()),
    ("sha256", pa.binary(32)), ("height_px", pa.int32()), ("width_px", pa.int32()),
])  # fmt: skip
REJECTION = pa.struct([("stage", pa.string()), ("reason", pa.string())])
FAULT = pa.struct([
    ("stage", pa.string()), ("kind", pa.string()), ("message", pa.string()), ("retryable", pa.bool_()),
])  # fmt: skip

ENVELOPE = pa.schema([  # every record of every run starts with these
    pa.field("id", pa.string(), nullable=False),  # stable: derived from the source, never from order
    pa.field("rejection", REJECTION),  # null = kept; else which stage refused it, and why
    pa.field("quarantine", FAULT),  # null = healthy; else what broke, and where
])  # fmt: skip

CAPTION = pa.schema([
    ("image", IMAGE), ("caption", pa.string()),
    ("image_captions", pa.list_(pa.string())),  # every caption of this image, this one included
    ("image_id", pa.string()), ("caption_id", pa.string()),  # as the source names them
])  # fmt: skip
PROPOSAL = pa.schema([("absent_object", pa.string()), ("proposal_score", pa.float32())])
VERIFICATION = pa.schema([("presence_score", pa.float32()), ("verifier_raw", pa.string())])
NEGATED_CAPTION = pa.schema([("negated_caption", pa.string())])
CAPTION_CHECK = pa.schema([("negation_form", pa.string()), ("negation_position", pa.string())])

EXTRACTED = pa.schema([("extracted_objects", pa.list_(pa.string()))])
PROPOSED = pa.schema([("proposed_objects", pa.list_(pa.string()))])
OBJECT_LISTS = pa.schema([  # after verification
    ("positive_objects", pa.list_(pa.string())), ("negative_objects", pa.list_(pa.string())),
])  # fmt: skip
STATEMENT = pa.struct([("affirmed", pa.list_(pa.string())), ("denied", pa.list_(pa.string()))])
MCQ = pa.schema([
    ("options", pa.list_(pa.string())), ("answer", pa.int8()),  # the index of the true option
    ("question_type", pa.string()),  # positive | negative | hybrid | modified_positive, of the true option
    ("option_statements", pa.list_(STATEMENT)),
])  # fmt: skip

URL_CAPTION = pa.schema([  # a row of a URL list; what `CAPTION` has beside the image, which a fetch stage adds
    ("url", pa.string()), ("caption", pa.string()), ("image_captions", pa.list_(pa.string())),
    ("image_id", pa.string()), ("caption_id", pa.string()),
])  # fmt: skip
FETCHED = pa.schema([("image", IMAGE), ("fetched_url", pa.string())])  # fetched_url: where the redirects ended
IMAGE_OBJECTS = pa.schema([("image", IMAGE), ("image_id", pa.string()), ("objects", pa.list_(pa.string()))])
INSTANCE = pa.struct([  # one annotated object of an image
    ("id", pa.string()), ("category", pa.string()), ("box_xywh_px", pa.list_(pa.float32())), ("crowd", pa.bool_()),
])  # fmt: skip
EXPRESSION = pa.schema([
    ("image", IMAGE), ("image_id", pa.string()), ("expression", pa.string()), ("expression_id", pa.string()),
    ("referred_id", pa.string()), ("instances", pa.list_(INSTANCE)),  # every annotated object; one has `referred_id`
])  # fmt: skip
DENIAL = pa.schema([
    ("negation_cue", pa.string()), ("negation_form", pa.string()), ("negation_position", pa.string()),
    ("denied", pa.string()),  # the phrase in the cue's scope
])  # fmt: skip
REFERRING = pa.schema([
    ("boxes_xywh_px", pa.list_(pa.list_(pa.float32()))),  # candidates, enlarged; in the order of `candidate_ids`
    ("candidate_ids", pa.list_(pa.string())), ("target", pa.int16()),  # index of the referred object
])  # fmt: skip
DENIAL_EVIDENCE = pa.schema([
    ("denial_checked", pa.bool_()),  # annotations can tell whether the denial holds of the target, and it does
    ("all_negatives_fail", pa.bool_()),  # it is false of each other candidate; null = annotations cannot tell
])  # fmt: skip

QUESTION = pa.schema([  # one yes/no question of VQA with the captions of its image
    ("image", IMAGE), ("image_captions", pa.list_(pa.string())), ("image_caption_ids", pa.list_(pa.string())),
    ("image_id", pa.string()), ("question", pa.string()), ("question_id", pa.string()),
    ("question_type", pa.string()), ("answer_type", pa.string()),  # as VQA labels them: "is there a", "yes/no"
    ("multiple_choice_answer", pa.string()),  # the commonest answer
    ("answers", pa.list_(pa.string())), ("answer_confidences", pa.list_(pa.string())),  # one per annotator, as written
])  # fmt: skip
NO_VOTES = pa.schema([("no_votes", pa.int16()), ("votes", pa.int16())])
NEGATION_KIND = pa.schema([("negation_kind", pa.string())])  # object, attribute or action
MERGED_CAPTION = pa.schema([("caption", pa.string()), ("caption_id", pa.string()), ("negated_caption", pa.string())])
PRESENCE = pa.schema([  # an image with what is known to be in it and what is known not to be; other objects are unknown
    pa.field("image_id", pa.string(), nullable=False), pa.field("image_path", pa.string(), nullable=False),
    pa.field("present", pa.list_(pa.string()), nullable=False), pa.field("absent", pa.list_(pa.string()), nullable=False),
])  # fmt: skip

VIDEO = pa.schema([
    ("video_uri", pa.string()), ("video_id", pa.string()), ("captions", pa.list_(pa.string())), ("split", pa.string()),
    ("start_s", pa.float32()), ("end_s", pa.float32()),  # the clip within the video that it was cut from
])  # fmt: skip
FINDINGS = pa.schema([  # findings in none of the three lists were not mentioned
    ("image", IMAGE), ("image_id", pa.string()), ("patient_id", pa.string()), ("view", pa.string()),
    ("present", pa.list_(pa.string())), ("absent", pa.list_(pa.string())), ("uncertain", pa.list_(pa.string())),
])  # fmt: skip
FINDING_QUESTION = pa.schema([
    ("image", IMAGE), ("image_id", pa.string()), ("patient_id", pa.string()),
    ("question_type", pa.string()),  # control | negation
    ("finding", pa.string()), ("other_finding", pa.string()),  # control: what the wrong text names
    ("finding_present", pa.bool_()), ("within_balance", pa.bool_()),
])  # fmt: skip
TWO_OPTIONS = pa.schema([("options", pa.list_(pa.string())), ("answer", pa.int8())])

EDIT_PLAN = pa.schema([  # one edit of an image: what is asked for, and what the answer is judged by
    ("caption", pa.string()), ("caption_id", pa.string()),
    ("absent_object", pa.string()),  # absent from `image`; the edit paints it in
    ("selection_score", pa.float64()),  # image-text score of the bare name, low = surely absent; null where not scored
])  # fmt: skip
INSTRUCTIONS = pa.schema([
    ("add_instruction", pa.string()),  # "Add a clock.": how image_with_object is made
    ("negative_instruction", pa.string()),  # "There is no clock in the image.": what an editor is asked to obey
    ("affirmative_instruction", pa.string()),  # control: "There is a clock in the image."; nothing is to be removed
    ("keep_instruction", pa.string()),  # control: denies `kept_absent_object`, which is in neither image
    ("kept_absent_object", pa.string()),
])  # fmt: skip
EDITED = pa.schema([
    ("image_with_object", IMAGE), ("edit_seed", pa.int64()),
    ("edit_box_xyxy_px", pa.list_(pa.float32())),  # where the object was put; null = the editor cannot tell
    ("edit_batch", pa.int32()),  # edits in the model call; less than configured = memory ran out and it was halved
])  # fmt: skip
EDIT_VERDICT = pa.schema([
    ("caption_score", pa.float64()),  # image-text score of "CAPTION. This image has a OBJECT."
    ("caption_holds", pa.bool_()), ("object_seen", pa.bool_()), ("object_score", pa.float64()),  # first judge family
    ("second_object_seen", pa.bool_()), ("second_object_score", pa.float64()),  # second family; null without one
    ("change_inside", pa.float64()), ("change_outside", pa.float64()),  # mean |difference| in 0..1 in and out of the box
])  # fmt: skip

CAPTION_OBJECTS = pa.schema([("caption_objects", pa.list_(pa.string()))])  # what the caption names, for retention
SEEN_OBJECT = pa.struct([  # what a judge says of one object in one image
    ("object", pa.string()), ("seen", pa.bool_()),  # null: the judge does not know the object or was not understood
    ("score", pa.float64()), ("answer", pa.string()),  # best confidence; what it said, or why it could not
])  # fmt: skip
EDIT_QUERY = pa.struct([  # one instruction of an evaluation
    ("kind", pa.string()),  # negative | affirmative | keep | two_objects
    ("instruction", pa.string()), ("named_object", pa.string()),  # the object that the instruction speaks of
])  # fmt: skip
EVALUATED_EDIT = pa.schema([("edited_image", IMAGE), ("evaluation_seed", pa.int64()), ("evaluation_batch", pa.int32())])
EDIT_DISTANCES = pa.schema([  # mean absolute (l1) and mean squared (l2) difference of RGB values in 0..1
    ("l1", pa.float64()), ("l2", pa.float64()),  # to the image that was wanted; the edit resized to its size
    ("l1_edited_size", pa.float64()), ("l2_edited_size", pa.float64()),  # the wanted image resized to the edit's size
    ("change_l1", pa.float64()),  # to the input, resized to the edit's size
    ("change_peak", pa.float64()),  # the same in the cell of a 6 x 6 grid that changed most
])  # fmt: skip


def extend(base: pa.Schema, added: pa.Schema) -> pa.Schema:
    """`base` followed by `added`; a column has exactly one writer."""
    for field in added:
        if field.name in base.names:
            raise ValueError(f"column {field.name!r} is already written upstream (columns there: {base.names})")
        base = base.append(field)
    return base
