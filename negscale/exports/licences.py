"""Licences of well-known model weights, by the beginning of the model's id. What is not listed here is not guessed."""

from __future__ import annotations

_APACHE = ("Apache-2.0", "https://www.apache.org/licenses/LICENSE-2.0")

# Only models whose licence is the same for every size that the prefix matches.
_BY_PREFIX = {
    "meta-llama/Meta-Llama-3-": ("Meta Llama 3 Community License", "https://www.llama.com/llama3/license/"),
    "meta-llama/Meta-Llama-3.1-": ("Llama 3.1 Community License", "https://www.llama.com/llama3_1/license/"),
    "meta-llama/Llama-3.1-": ("Llama 3.1 Community License", "https://www.llama.com/llama3_1/license/"),
    "meta-llama/Llama-3.2-": ("Llama 3.2 Community License", "https://www.llama.com/llama3_2/license/"),
    "meta-llama/Llama-3.3-": ("Llama 3.3 Community License", "https://www.llama.com/llama3_3/license/"),
    "mistralai/Mistral-7B-": _APACHE,
    "llava-hf/llava-v1.6-mistral-7b-hf": _APACHE,
    "Qwen/Qwen2-VL-2B-": _APACHE,
    "Qwen/Qwen2-VL-7B-": _APACHE,
    "Qwen/Qwen2.5-VL-7B-": _APACHE,
    "Qwen/Qwen3.6-": _APACHE,
    "google/owlv2-": _APACHE,
    "google/owlvit-": _APACHE,
    "iSEE-Laboratory/llmdet_": _APACHE,
    "Salesforce/blip-itm-": ("BSD-3-Clause", "https://opensource.org/license/bsd-3-clause"),
}
_OURS = "no weights: part of negscale (Apache-2.0)"
_CORPUS = "no weights: figures from a corpus, whose licence applies"
_BY_KIND = {
    "tiny": _OURS, "negscale": _OURS, "cooccurrence": _CORPUS, "annotations": _CORPUS,
    "onnx": "unknown file: see the page that it came from",
    "detector_judge": "those of the detectors named in it: see the pages that their files came from",
}  # fmt: skip


def licence_of(backend_id: str) -> str:
    """Markdown with the licence of a backend, from its id such as ``vllm/meta-llama/Meta-Llama-3-8B-Instruct@<revision>``."""
    kind, _, rest = backend_id.partition("/")
    kind = kind.partition("(")[0].partition("@")[0]
    if kind in _BY_KIND:
        return _BY_KIND[kind]
    model = rest.partition("@")[0]
    for prefix, (name, url) in _BY_PREFIX.items():
        if model.startswith(prefix):
            return f"[{name}]({url})"
    if model.count("/") == 1:
        return f"see [the model's page](https://huggingface.co/{model})"
    return "see the model's page"
