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


def extend(base: pa.Schema, added: pa.Schema) -> pa.Schema:
    """`base` followed by `added`; a column has exactly one writer."""
    for field in added:
        if field.name in base.names:
            raise ValueError(f"column {field.name!r} is already written upstream (columns there: {base.names})")
        base = base.append(field)
    return base
