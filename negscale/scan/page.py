"""The result of a scan as one HTML file without links to anything outside of it."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; width: 100%; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
q { font-style: italic; } small { opacity: .7; overflow-wrap: anywhere; }
"""
LABELS = {
    "word_list": "a word of the literature's list, whatever it means", "explicit": "explicit negation",
    "implicit": "implicit negation", "implicit_only": "implicit negation alone",
    "look_alike": "look-alikes only (no negation)", "double_negation": "a double negation, which cancels",
}  # fmt: skip


def html_page(result: Mapping[str, Any]) -> str:
    """`result` of `negscale.scan.run.scan` as HTML; every text of the data is escaped."""
    title = "Negation in " + ", ".join(result["sources"])
    shares = "".join(_share(LABELS[name], share, "captions") for name, share in result["shares"].items())
    shares += "".join(_share(LABELS[name], share, "words") for name, share in result["tokens"].items())
    cues = "".join(
        f"<tr><td>{escape(cue['group'])}</td><td><b>{escape(cue['cue'])}</b></td><td class=n>{cue['count']:,}</td>"
        f"<td class=n>{_percent(cue)}</td><td>{''.join(_example(e) for e in cue['examples'])}</td></tr>"
        for cue in result["cues"]
    )
    unread = ", ".join(f"{count:,} {escape(kind)}" for kind, count in result["unread"].items()) or "none"
    agreed = _agreement(result["agreement"]) if "agreement" in result else ""
    failed = "".join(f"<li>{escape(name)}: {escape(why)}</li>" for name, why in result["failed"].items())
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{escape(title)}</title><style>{_STYLE}</style>"
        f"<h1>{escape(title)}</h1><p>{result['captions']:,} captions, {result['words']:,} words, {result['files']:,} files. "
        f"Not captions: {unread}.</p>{f'<p>Files that could not be read:</p><ul>{failed}</ul>' if failed else ''}"
        f"<table><tr><th>with<th class=n>count<th class=n>share<th>95 % interval (Wilson)</tr>{shares}</table>{agreed}"
        f"<table><tr><th>group<th>cue<th class=n>captions<th class=n>share<th>examples</tr>{cues}</table></html>"
    )


def _percent(share: Mapping[str, Any]) -> str:
    return "-" if share["share"] is None else f"{100 * share['share']:.3f} %"


def _share(label: str, share: Mapping[str, Any], of: str) -> str:
    return (
        f"<tr><td>{escape(label)}, of {of}</td><td class=n>{share['count']:,}</td><td class=n>{_percent(share)}</td>"
        f"<td>{100 * share['low']:.3f} to {100 * share['high']:.3f} %</td></tr>"
    )


def _example(example: Mapping[str, str]) -> str:
    return f"<div><q>{escape(example['caption'])}</q> <small>{escape(example['at'])}</small></div>"


def _agreement(found: Mapping[str, Any]) -> str:
    refuted = "".join(
        f"<li><b>{escape(name)}</b> <q>{escape(caption)}</q> <small>{escape(image_id)}</small>"
        for image_id, name, caption in found["refuted"]
    )
    share = f"{100 * found['low']:.1f} to {100 * found['high']:.1f} %" if found["share"] is not None else "-"
    return (
        f"<p>Of {found['decided']:,} denied objects that {escape(found['judge'])} judged, {found['confirmed']:,} are absent from "
        f"their image ({_percent(found)}, 95 % interval {share}).</p>"
        + (f"<p>Denied, and seen by the judge:</p><ul>{refuted}</ul>" if refuted else "")
    )
