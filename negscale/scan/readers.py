"""Captions of one unit, as Arrow string arrays without nulls; what is no caption is counted by kind, never dropped unseen."""

from __future__ import annotations

import ast
import csv
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from negscale.core.arrow import compute as pc
from negscale.core.errors import ConfigError
from negscale.datasets.files import open_file
from negscale.scan.sources import CAPTION_COLUMNS, Reading, Unit, format_of
from negscale.storage.folder import open_folder

BATCH_ROWS = 1 << 16
_PARQUET_ROWS, _PARQUET_BYTES = 1 << 18, 1 << 24  # of a batch at most: what every batch costs is shared by its rows
_BLOCK_BYTES = 1 << 23


def read_captions(unit: Unit, reading: Reading, unread: Counter[str]) -> Iterator[pa.Array]:
    """Arrays string[N] of a unit's captions; counts what is unreadable into `unread` (null, not_utf8, malformed).

    Raises ConfigError when the caption column is not there, OSError, ValueError or tarfile.TarError for broken files.
    """
    with open_file(open_folder(unit.folder), unit.path, unit.size_bytes) as file:
        compression = (format_of(unit.path) or ("", ""))[1]
        stream: Any = file
        if compression:
            stream = pa.CompressedInputStream(pa.PythonFile(file, "r"), compression)
        if unit.format == "parquet":
            columns = _parquet(file, unit, reading)
        elif unit.format in ("csv", "tsv"):
            columns = _table(stream, unit, reading, unread)
        elif unit.format in ("txt", "jsonl"):
            columns = _lines(stream, unit, reading, unread)
        elif unit.format == "json":
            columns = _annotations(stream, unit)
        else:
            columns = _tar(stream, unit, reading, unread)
        for column in columns:
            yield from _clean(column, reading, unread)


def _clean(column: pa.Array, reading: Reading, unread: Counter[str]) -> Iterator[pa.Array]:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        unread["null"] += column.null_count
        column = pc.list_flatten(column)
    if pa.types.is_null(column.type):
        unread["null"] += len(column)
        return
    unread["null"] += column.null_count
    column = pc.drop_null(column)
    if not pa.types.is_string(column.type):
        try:
            column = column.cast(pa.string())  # checks that bytes are UTF-8
        except pa.ArrowInvalid:
            column = _decode(column, unread)
    if reading.lists:
        column = _unlist(column, unread)
    filled = pc.greater(pc.binary_length(column), 0)
    if not pc.all(filled).as_py():
        unread["empty"] += len(column) - pc.sum(filled).as_py()
        column = column.filter(filled)
    if len(column):
        yield column


def _decode(column: pa.Array, unread: Counter[str]) -> pa.Array:
    texts: list[str] = []
    for value in column.cast(pa.binary()).to_pylist():
        try:
            texts.append(value.decode())
        except UnicodeDecodeError:
            unread["not_utf8"] += 1
    return pa.array(texts, pa.string())


def _unlist(column: pa.Array, unread: Counter[str]) -> pa.Array:
    texts: list[str] = []
    for cell in column.to_pylist():
        try:
            value = ast.literal_eval(cell)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            value = None
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            texts += value
        else:
            unread["malformed"] += 1
    return pa.array(texts, pa.string())


def _chosen(names: Sequence[str], unit: Unit, reading: Reading) -> str:
    if reading.column:
        if reading.column in names:
            return reading.column
        raise ConfigError(f"{unit.name}: no column {reading.column!r}; the columns are {', '.join(names)}")
    lower = {name.lower(): name for name in reversed(names)}
    for wanted in CAPTION_COLUMNS:
        if wanted in lower:
            return lower[wanted]
    raise ConfigError(
        f"{unit.name}: which column holds the captions? Name it with --column; the columns are "
        f"{', '.join(names)[:300]}. A table without a header takes a number: --column 0"
    )


def _parquet(file: Any, unit: Unit, reading: Reading) -> Iterator[pa.Array]:
    parquet = pq.ParquetFile(file)
    column = _chosen(parquet.schema_arrow.names, unit, reading)
    groups = range(*unit.groups)  # a file without rows has none
    rows = min(_PARQUET_ROWS, max(1, _PARQUET_BYTES // _bytes_a_row(parquet, groups, column)))
    for batch in parquet.iter_batches(rows, row_groups=groups, columns=[column], use_threads=False):
        yield batch.column(0)


def _bytes_a_row(parquet: pq.ParquetFile, groups: range, column: str) -> int:
    """Of a column, by the footer; at least one."""
    size = rows = 0
    for number in groups:
        group = parquet.metadata.row_group(number)
        rows += group.num_rows
        parts = (group.column(at) for at in range(group.num_columns))
        # encoded: a dictionary makes it smaller than it will be
        size += sum(part.total_uncompressed_size for part in parts if part.path_in_schema.split(".")[0] == column)
    return max(1, size // max(1, rows))


def _table(stream: Any, unit: Unit, reading: Reading, unread: Counter[str]) -> Iterator[pa.Array]:
    def malformed(_: Any) -> str:
        unread["malformed"] += 1
        return "skip"

    tabs = unit.format == "tsv"
    parse = pa_csv.ParseOptions(
        delimiter="\t" if tabs else ",", quote_char=False if tabs else '"', newlines_in_values=not tabs,
        invalid_row_handler=malformed,
    )  # fmt: skip
    headless = reading.column.isdigit()
    head, stream = _head(stream)
    if headless:
        width = len(head.split("\t")) if tabs else len(pa_csv.read_csv(
            io.BytesIO(head.encode("utf-8", "surrogateescape")), pa_csv.ReadOptions(autogenerate_column_names=True),
            pa_csv.ParseOptions(newlines_in_values=True),
        ).schema)  # fmt: skip
        names = [f"f{number}" for number in range(width)]
        if int(reading.column) >= width:
            raise ConfigError(f"{unit.name}: --column {reading.column}: there are {width} columns, numbered from 0")
        column = names[int(reading.column)]
    else:
        names = []
        found = head.split("\t") if tabs else next(iter(_csv_rows(head)), [])
        column = _chosen([name.strip() for name in found], unit, reading)
        column = found[[name.strip() for name in found].index(column)]
    read = pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK_BYTES, column_names=names or None)
    # as bytes: one caption that is not UTF-8 must not end the file
    convert = pa_csv.ConvertOptions(
        include_columns=[column], column_types={column: pa.binary()}, strings_can_be_null=False, check_utf8=False
    )
    with pa_csv.open_csv(stream, read, parse, convert) as reader:
        for batch in reader:
            yield batch.column(0)


def _csv_rows(text: str) -> Iterator[list[str]]:
    return iter(csv.reader(io.StringIO(text, newline="")))


def _head(stream: Any) -> tuple[str, Any]:
    """The first line (without its end), and the stream as if nothing had been read; a byte order mark is skipped."""
    first = stream.read(1 << 16)
    text = first.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
    return text.partition("\n")[0].rstrip("\r"), pa.PythonFile(
        _Rejoined(first.removeprefix(b"\xef\xbb\xbf"), stream), "r"
    )


class _Rejoined(io.RawIOBase):
    """Bytes that were read already, then the rest of their stream."""

    def __init__(self, first: bytes, rest: Any) -> None:
        self._first, self._rest = first, rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if self._first:
            data, self._first = (self._first, b"") if size < 0 else (self._first[:size], self._first[size:])
            return data
        return self._rest.read(size if size >= 0 else _BLOCK_BYTES)


def _blocks(stream: Any) -> Iterator[list[bytes]]:
    """Whole lines, without their ends, in lists of about a block of bytes."""
    rest = b""
    while data := stream.read(_BLOCK_BYTES):
        *lines, rest = (rest + data).split(b"\n")
        yield lines
    if rest:
        yield [rest]


def _lines(stream: Any, unit: Unit, reading: Reading, unread: Counter[str]) -> Iterator[pa.Array]:
    first = True
    key = reading.column
    for lines in _blocks(stream):
        if first and lines:
            lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
        if unit.format == "txt":
            yield pa.array([line.rstrip(b"\r") for line in lines], pa.binary())
        else:
            texts: list[str | None] = []
            for line in lines:
                if not line.strip():
                    continue
                try:
                    item = json.loads(line, strict=False)
                except ValueError:
                    unread["malformed"] += 1
                    continue
                if not isinstance(item, dict):
                    unread["malformed"] += 1
                    continue
                key = key or _chosen(list(item), unit, reading)
                if first and key not in item:
                    _chosen(list(item), unit, reading)
                first = False
                texts += _texts(item.get(key), unread)
            yield _storable(texts, unread)
        first = False


def _texts(value: Any, unread: Counter[str]) -> list[str | None]:
    """The captions in a JSON value: text, a list of texts, or null."""
    if value is None or isinstance(value, str):
        return [value]
    if isinstance(value, list):
        return [text for item in value for text in _texts(item, unread)]
    unread["malformed"] += 1
    return []


def _storable(texts: list[str | None], unread: Counter[str]) -> pa.Array:
    try:
        return pa.array(texts, pa.string())
    except (UnicodeEncodeError, pa.ArrowInvalid):  # a lone surrogate of a JSON escape
        whole = [
            text for text in texts if text is None or text.isascii() or text.encode("utf-8", "ignore").decode() == text
        ]
        unread["not_utf8"] += len(texts) - len(whole)
        return pa.array(whole, pa.string())


def _annotations(stream: Any, unit: Unit) -> Iterator[pa.Array]:
    """COCO's annotations[].caption, or the images[].sentences[].raw of the splits that Karpathy published."""
    content = json.loads(stream.read().decode("utf-8-sig", "replace"), strict=False)
    found = content if isinstance(content, dict) else {}
    texts: list[Any] = []
    if isinstance(found.get("annotations"), list):
        texts = [note.get("caption") for note in found["annotations"] if isinstance(note, dict)]
    elif isinstance(found.get("images"), list):
        texts = [
            said.get("raw") for image in found["images"] if isinstance(image, dict)
            for said in image.get("sentences", ()) if isinstance(said, dict)
        ]  # fmt: skip
    if not any(isinstance(text, str) for text in texts):
        raise ConfigError(
            f"{unit.name}: neither annotations[].caption (COCO) nor images[].sentences[].raw (Karpathy) is there; "
            f"it holds {sorted(found)[:8] or type(content).__name__}"
        )
    for at in range(0, len(texts), BATCH_ROWS):
        yield pa.array([text if isinstance(text, str) else None for text in texts[at : at + BATCH_ROWS]], pa.string())


def _tar(stream: Any, unit: Unit, reading: Reading, unread: Counter[str]) -> Iterator[pa.Array]:
    """key.txt of every sample, or the caption in key.json where there is no key.txt (WebDataset)."""
    waiting: list[bytes | str | None] = []
    key, told = "", False
    spare: list[str | None] = []  # the JSON's caption of the current sample, until a text member takes its place
    with tarfile.open(fileobj=stream, mode="r|*" if unit.path.lower().endswith(".tgz") else "r|") as tar:
        for member in tar:
            tar.members = []  # pyright: ignore[reportAttributeAccessIssue]  # keeps memory flat
            folder, _, base = member.name.rpartition("/")
            stem, _, extension = base.partition(".")
            if not member.isreg() or base.startswith("."):
                continue
            if f"{folder}/{stem}" != key:
                waiting += _untold(key, told, spare, unread)
                key, told, spare = f"{folder}/{stem}", False, []
            if extension.lower() in ("txt", "caption") and (data := tar.extractfile(member)) is not None:
                waiting.append(data.read())
                told = True
            elif extension.lower() == "json" and (data := tar.extractfile(member)) is not None:
                spare = _json_caption(data.read(), reading, unread)
            if len(waiting) >= BATCH_ROWS:
                yield _bytes(waiting)
                waiting = []
    waiting += _untold(key, told, spare, unread)
    yield _bytes(waiting)


def _untold(key: str, told: bool, spare: list[str | None], unread: Counter[str]) -> list[str | None]:
    """What a finished sample without a text member says: its JSON's caption, or nothing, which is counted."""
    unread["no_caption"] += bool(key) and not told and not spare
    return [] if told else spare


def _bytes(texts: list[Any]) -> pa.Array:
    return pa.array(
        [text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text for text in texts], pa.binary()
    )


def _json_caption(data: bytes, reading: Reading, unread: Counter[str]) -> list[str | None]:
    try:
        item = json.loads(data, strict=False)
    except ValueError:
        unread["malformed"] += 1
        return []
    names = [reading.column] if reading.column else CAPTION_COLUMNS
    value = next((item[name] for name in names if name in item), None) if isinstance(item, dict) else None
    return _texts(value, unread)
