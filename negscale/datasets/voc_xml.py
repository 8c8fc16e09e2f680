"""PASCAL VOC's annotation XML, read without trust: no document type, so no entity can be declared, external or nested.

The standard library's trees expand entities ("billion laughs"); here expat's events are read directly and a file that
declares a document type, which no annotation tool writes, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

MAX_BYTES = 1 << 20  # an annotation has some kilobytes
MAX_DEPTH = 16


class VocXmlError(ValueError):
    """The file is no annotation that is read; `kind` is stable and is what quarantine records."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class VocObject:
    """One annotated object."""

    name: str
    difficult: bool  # hard to recognise: VOC's own evaluation leaves it out


@dataclass
class VocAnnotation:
    """What one file says of its image."""

    filename: str = ""
    height_px: int | None = None
    width_px: int | None = None
    objects: list[VocObject] = field(default_factory=list)


def parse_annotation(data: bytes) -> VocAnnotation:
    """The annotation in `data`. Raises VocXmlError (`forbidden_doctype`, `oversized_xml` or `schema`).

    The parts of an object (a person's head, hand, foot) have names too; they are no objects of the image.
    """
    if len(data) > MAX_BYTES:
        raise VocXmlError("oversized_xml", f"{len(data)} bytes; annotations have at most {MAX_BYTES}")
    found = VocAnnotation()
    path: list[str] = []
    text: list[str] = []
    current: dict[str, str] = {}

    def start(name: str, _: Any) -> None:
        if not path and name != "annotation":
            raise VocXmlError("schema", f"the root element is {name!r}, not 'annotation'")
        path.append(name)
        text.clear()
        if len(path) > MAX_DEPTH:
            raise VocXmlError("schema", f"elements are nested deeper than {MAX_DEPTH}")
        if path == ["annotation", "object"]:
            current.clear()

    def end(_: str) -> None:
        said = "".join(text).strip()
        match path:
            case ["annotation", "filename"]:
                found.filename = said
            case ["annotation", "size", ("height" | "width") as side]:
                setattr(found, f"{side}_px", int(said) if said.isdecimal() and 0 < int(said) < 1 << 31 else None)
            case ["annotation", "object", ("name" | "difficult") as key]:
                current[key] = said
            case ["annotation", "object"]:
                if not current.get("name"):
                    raise VocXmlError("schema", f"object number {len(found.objects) + 1} has no name")
                found.objects.append(VocObject(current["name"], current.get("difficult") == "1"))
        path.pop()
        text.clear()

    def doctype(*_: Any) -> None:
        raise VocXmlError("forbidden_doctype", "the file declares a document type; annotations have none")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text.append, doctype
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, UnicodeError, LookupError) as error:  # LookupError: an encoding nobody knows
        raise VocXmlError("schema", f"not XML: {error}") from None
    return found
