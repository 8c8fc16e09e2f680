"""From raw captions to rows: what every captioned source shares.

A caption that no language model should see (empty, endless, not UTF-8, with control characters) becomes a quarantined
row with a stable kind; the released generators of NegationCLIP and NegBench pass all of them on. A caption that
contains instructions to a model is data like any other: prompts quote it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from negscale.core.schema import CAPTION, ENVELOPE

MAX_CAPTION_WORDS = 200
TABLE = pa.schema([*ENVELOPE, *CAPTION])

_BREAKS = re.compile(r"\s*[\t\n\r\v\f\u0085\u2028\u2029]\s*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def storable(text: str) -> str:
    """`text` with U+FFFD for every surrogate (a byte that is not UTF-8): Arrow stores UTF-8 only."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def fault(kind: str, message: str, retryable: bool = False) -> dict[str, Any]:
    """The `quarantine` value of a row that broke while being read."""
    return {"stage": "read", "kind": kind, "message": storable(message[:2000]), "retryable": retryable}


def clean_caption(raw: str | bytes | None, max_words: int = MAX_CAPTION_WORDS) -> tuple[str, dict[str, Any] | None]:
    """(caption as stored, None or its fault). Ends are stripped and line breaks become spaces; nothing else changes.

    Text read with `surrogateescape` counts as its bytes. Bytes that are not UTF-8 are stored as U+FFFD.
    """
    if raw is None:
        return "", fault("empty_caption", "the caption is null")
    if isinstance(raw, bytes):
        raw = raw.decode("utf-8", "surrogateescape")
    text = raw.strip()
    if text.isascii() and text.isprintable() and 0 < len(text) < max_words:
        return text, None  # nearly every caption
    text = _BREAKS.sub(" ", text)
    if bad := len(_SURROGATE.findall(text)):
        text = _SURROGATE.sub("\ufffd", text)
        return text, fault("not_utf8", f"the caption has {bad} bytes that are not UTF-8; re-encode the captions file")
    if not text:
        return "", fault("empty_caption", "the caption is empty or only white space")
    if found := _CONTROL.search(text):
        return text, fault("control_characters", f"the caption has the control character U+{ord(found[0]):04X}")
    words = text.count(" ") + 1
    if words > max_words and (words := len(text.split())) > max_words:
        return text, fault("caption_too_long", f"the caption has {words} words; max_caption_words is {max_words}")
    return text, None


def image_ref(
    uri: str | None, *, offset: int | None = None, length: int | None = None, sha256: bytes | None = None,
    height_px: int | None = None, width_px: int | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The IMAGE struct; `uri` is relative to the image root."""
    return {
        "uri": uri and storable(uri), "offset": offset, "length": length, "sha256": sha256,
        "height_px": height_px, "width_px": width_px,
    }  # fmt: skip


class CaptionRows:
    """Collects rows of the caption schema; ids that occurred before are made unique and quarantined."""

    def __init__(self, max_caption_words: int = MAX_CAPTION_WORDS) -> None:
        self._max_words = max_caption_words
        self._ids: set[str] = set()
        self._columns: dict[str, list[Any]] = {name: [] for name in TABLE.names}
        self._append = [column.append for column in self._columns.values()]  # in TABLE's order

    def add(
        self,
        row_id: str,
        image: Mapping[str, Any] | None,
        caption: str | bytes | None,
        *,
        image_id: str,
        caption_id: str,
        image_captions: Sequence[str] | None = None,
        broken: Mapping[str, Any] | None = None,
    ) -> None:
        """Append one row; `broken` is a fault of the row that outweighs those of its caption."""
        text, problem = clean_caption(caption, self._max_words)
        said = [text] if image_captions is None else image_captions
        self.add_clean(row_id, image, text, broken or problem, image_id=image_id, caption_id=caption_id, said=said)

    def add_clean(
        self,
        row_id: str,
        image: Mapping[str, Any] | None,
        text: str,
        problem: Mapping[str, Any] | None,
        *,
        image_id: str,
        caption_id: str,
        said: Sequence[str],
    ) -> None:
        """Append one row whose caption went through `clean_caption`; said: all captions of the image."""
        row_id = unique = storable(row_id)
        if row_id in self._ids:
            copy = 2
            while (unique := f"{row_id}~{copy}") in self._ids:
                copy += 1
            problem = problem or fault(
                "duplicate_id", f"id {row_id!r} occurred before; this copy is kept as {unique!r}"
            )
        self._ids.add(unique)
        values = (unique, None, problem, image, text, said, storable(image_id), storable(caption_id))
        for append, value in zip(self._append, values, strict=True):
            append(value)

    def table(self) -> pa.Table:
        """The rows so far, as `TABLE`."""
        return pa.table({f.name: pa.array(self._columns[f.name], f.type) for f in TABLE}, schema=TABLE)
