"""``report`` on the folder of an evaluation: its page, or its figures as Markdown or CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from negscale import __version__
from negscale.benchmarks.cells import SUITE, Suite, read_suite
from negscale.core.backend import Image
from negscale.core.errors import ConfigError
from negscale.datasets.images import ImageReader
from negscale.datasets.things import FRAMES, frames, is_video
from negscale.report.eval_page import EvalOptions, EvalPage, build_eval_page
from negscale.report.eval_text import evaluation_csv, evaluation_markdown
from negscale.storage.folder import open_folder

Form = Literal["html", "markdown", "csv"]


def is_evaluation(uri: str) -> bool:
    """Whether a folder or URI is one that `negscale eval all` wrote."""
    return open_folder(uri.rstrip("/")).exists(SUITE)


class ItemImages:
    """Reads the images of items: pictures as they are, of a clip its first sampled frame."""

    def __init__(self, root: str) -> None:
        self._reader = ImageReader(root)

    def read(self, ref: Mapping[str, Any]) -> Image:
        """Pixels uint8[H, W, 3]; raises ImageError."""
        if is_video(str(ref["uri"])):
            return frames(self._reader.read_bytes(ref), FRAMES)[0]
        return self._reader.read(ref)


def evaluation_text(uri: str, form: Form) -> str:
    """The figures of an evaluation as Markdown or CSV. Raises ConfigError, AuditError; see `read_suite`."""
    suite = read_suite(uri)
    return evaluation_csv(suite) if form == "csv" else evaluation_markdown(suite)


def make_eval_report(
    uri: str, html: str = "", *, items: int = 4, megabytes: float = 24.0, overrides: Sequence[str] = (),
) -> tuple[EvalPage, str]:  # fmt: skip
    """Write the page of an evaluation; returns (the page, its path, by default report/index.html in the folder).

    overrides: ``image_root=PATH`` where the images have moved. Raises ConfigError, AuditError.
    """
    suite = read_suite(uri)
    path = html or f"{suite.uri}/report/index.html"
    parent, _, name = path.rpartition("/")
    if not name or Path(path).is_dir():
        raise ConfigError(
            f"--html {html!r} is a folder; give the name of a file in it, e.g. {path.rstrip('/')}/eval.html"
        )
    page = build_eval_page(suite, ItemImages(_image_root(suite, overrides)), EvalOptions(items, megabytes), __version__)
    open_folder(parent or ("/" if path.startswith("/") else ".")).write(name, page.html.encode(), durable=False)
    return page, path


def form_of(name: str) -> Form:
    """The form called `name`. Raises ConfigError naming all of them."""
    found: Form | None = next((form for form in get_args(Form) if form == name), None)
    if found is None:
        raise ConfigError(f"--to {name!r} is unknown; known: {', '.join(get_args(Form))}")
    return found


def _image_root(suite: Suite, overrides: Sequence[str]) -> str:
    root = suite.image_root
    for override in overrides:
        key, equals, value = override.partition("=")
        if key != "image_root" or not equals:
            raise ConfigError(f"{override!r}: of an evaluation only image_root=PATH can be corrected")
        root = value
    return root
