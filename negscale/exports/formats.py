"""All export formats by name: what ``negscale export --to NAME`` writes, and where it goes when no place is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from negscale.exports.chat_json import export_chat_json
from negscale.exports.coco_json import export_coco_json
from negscale.exports.finished import ExportResult
from negscale.exports.image_files import ReadsBytes
from negscale.exports.negbench_csv import export_negbench_csv
from negscale.exports.negrefcocog_json import export_negrefcocog
from negscale.exports.nein_json import export_nein_json
from negscale.exports.parquet import ROWS_PER_FILE, export_parquet
from negscale.exports.webdataset import ROWS_PER_TAR, export_webdataset
from negscale.storage.run_folder import RunFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What a user may choose; formats ignore what does not concern them."""

    allow_over_budget: bool = False
    license_id: str = ""  # for the card
    chat_format: str = "llava"  # or sharegpt
    rows_per_file: int = 0  # 0: the format's own
    form: str = "quintuplets"  # of nein-json; or generation
    embed_images: bool = False  # of parquet: the images themselves, beside the references


Reader = Callable[..., ReadsBytes]  # reader(COLUMN), "image" by default; made only by formats that need images
Write = Callable[[RunFolder, str, Reader, ExportOptions], ExportResult]


def _coco_json(run: RunFolder, out: str, reader: Reader, options: ExportOptions) -> ExportResult:
    return export_coco_json(run, out or f"{run.uri}/export/annotations.json", options.allow_over_budget)


def _negrefcocog_json(run: RunFolder, out: str, reader: Reader, options: ExportOptions) -> ExportResult:
    out = out or f"{run.uri}/export/NegRefCOCOg.json"
    return export_negrefcocog(run, out, allow_over_budget=options.allow_over_budget)


def _parquet(run: RunFolder, out: str, reader: Reader, options: ExportOptions) -> ExportResult:
    out, rows = out or f"{run.uri}/export/parquet", options.rows_per_file or ROWS_PER_FILE
    embed = reader if options.embed_images else None
    return export_parquet(run, out, options.allow_over_budget, options.license_id, rows, embed=embed)


def _negbench_csv(run: RunFolder, out: str, reader: Reader, options: ExportOptions) -> ExportResult:
    out = out or f"{run.uri}/export/negbench-csv"
    return export_negbench_csv(run, out, reader(), options.allow_over_budget, options.license_id)


def _webdataset(run: RunFolder, out: str, reader: Reader, options: ExportOptions) -> ExportResult:
    out, rows = out or f"{run.uri}/export/webdataset", options.rows_per_file or ROWS_PER_TAR
    return export_webdataset(run, out, reader(), options.allow_over_budget, options.license_id, rows, reader)


def _chat_json(run: RunFolder, out: str, reader: Reader, options: ExportOptions) -> ExportResult:
    out = out or f"{run.uri}/export/chat-{options.chat_format}"
    return export_chat_json(
        run, out, reader(), options.chat_format, options.allow_over_budget, options.license_id
    )  # fmt: skip


def _nein_json(run: RunFolder, out: str, reader: Reader, options: ExportOptions) -> ExportResult:
    out = out or f"{run.uri}/export/nein-{options.form}"
    return export_nein_json(run, out, reader, options.form, options.allow_over_budget, options.license_id)


FORMATS: dict[str, Write] = {
    "coco-json": _coco_json, "negrefcocog-json": _negrefcocog_json, "parquet": _parquet, "negbench-csv": _negbench_csv,
    "webdataset": _webdataset, "chat-json": _chat_json, "nein-json": _nein_json,
}  # fmt: skip
