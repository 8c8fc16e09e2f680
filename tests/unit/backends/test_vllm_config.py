"""The vLLM backend without an engine: identity, resources, refusals, prompts. Runs with and without vLLM installed."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negscale.backends.vllm import Sampling, VllmChatConfig, VllmEngineConfig
from negscale.backends.vllm_install import check_installed, weights_digest
from negscale.backends.vllm_prompt import image_problem, messages_of
from negscale.backends.vllm_service import _refused
from negscale.core.backend import ChatRequest, Turn
from negscale.core.config import load
from negscale.core.errors import ConfigError, FatalError
from negscale.pipelines.negationclip import P1Config

CONFIGS = Path(__file__).parents[3] / "configs"
INSTALLED = importlib.util.find_spec("vllm") is not None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(bytes(3 << 20))
    return tmp_path


def test_what_bears_identity() -> None:
    base = VllmChatConfig(model="a/b")
    assert base.model_copy(update={"engine": VllmEngineConfig(max_num_seqs=3)}).identity() == base.identity()
    for change in (
        {"revision": "1234"},
        {"sampling": Sampling(top_p=0.5)},
        {"choices": ("yes", "no")},
        {"model": "a/c"},
    ):
        assert base.model_copy(update=change).identity() != base.identity()


def test_a_folder_counts_by_its_files_not_its_place(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("moved")
    for file in folder.iterdir():
        (elsewhere / file.name).write_bytes(file.read_bytes())
    here, there = VllmChatConfig(model="a/b", path=str(folder)), VllmChatConfig(model="a/b", path=str(elsewhere))
    assert here.identity() == there.identity()
    assert here.build().id == f"vllm/a/b@files-{weights_digest(str(folder))}"
    assert VllmChatConfig(model="a/b", revision="17").build().id == "vllm/a/b@17"


@pytest.mark.parametrize("at", [0, (1 << 20) + 5, (3 << 20) - 1])
def test_the_digest_sees_changes_of_weights(folder: Path, at: int) -> None:
    before = weights_digest(str(folder))
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[at] ^= 1
    (folder / "model.safetensors").write_bytes(weights)
    # only the first and the last MiB are read, as the docstring says
    assert (weights_digest(str(folder)) == before) == ((1 << 20) <= at < (2 << 20))
    (folder / "model.safetensors").write_bytes(weights + b"0")
    assert weights_digest(str(folder)) != before


def test_the_digest_reads_small_files_whole(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("x" * (3 << 20))
    before = weights_digest(str(folder))
    (folder / "tokenizer.json").write_text("x" * (3 << 19) + "y" + "x" * ((3 << 19) - 1))
    assert weights_digest(str(folder)) != before


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"not a folder with a model.*config\.json"):
        weights_digest(str(tmp_path))
    with pytest.raises(ConfigError, match="not a folder with a model"):
        weights_digest(str(tmp_path / "absent"))


def test_resources() -> None:
    gpu = VllmChatConfig(model="a/b", engine=VllmEngineConfig(device="gpu", tensor_parallel_size=2)).resources()
    assert (gpu.gpus, gpu.calls, gpu.batch_rows) == (2.0, 4, 512)
    assert VllmChatConfig(model="a/b", engine=VllmEngineConfig(device="cpu")).resources().gpus == 0.0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": "/data/llama"}, "folder of a local model goes into `path`"),
        ({"model": "a/b", "choices": ["yes", "yes"]}, "different, non-empty texts"),
        ({"model": "a/b", "sampling": {"temperature": -1}}, "greater than or equal to 0"),
    ],
)
def test_bad_values_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VllmChatConfig(**values)


@pytest.mark.skipif(INSTALLED, reason="vLLM is installed here")
def test_without_vllm_the_extra_is_named() -> None:
    for attempt in (check_installed, VllmChatConfig(model="a/b").build().load):
        with pytest.raises(ConfigError, match=r'pip install "negscale\[vllm\]".*negscale\[cpu\]'):
            attempt()


def test_a_model_that_is_not_loaded_says_so() -> None:
    with pytest.raises(FatalError, match="call load"):
        VllmChatConfig(model="a/b").build().generate([ChatRequest((Turn("user", "hello"),))])


def test_messages_put_the_image_before_the_text() -> None:
    picture = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    asked = messages_of(ChatRequest((Turn("system", "be brief"), Turn("user", "is there a cat", picture))))
    assert asked[0] == {"role": "system", "content": "be brief"}
    image, text = asked[1]["content"]
    assert text == {"type": "text", "text": "is there a cat"}
    assert np.array_equal(np.asarray(image["image_pil"]), picture)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8), b"jpeg"]
)
def test_what_is_no_image_is_named(image: Any) -> None:
    assert "expected an image as" in image_problem(image)
    assert image_problem(np.zeros((4, 4, 3), np.uint8)) == ""


def test_refusals_are_sorted() -> None:
    long = ValueError("The decoder prompt (length 300) is longer than the maximum model length of 256.")
    assert _refused(long).kind == "prompt_too_long"
    assert _refused(ValueError("System role not supported")).kind == "prompt_refused"


@pytest.mark.parametrize("runtime", ["laptop", "one_node_8gpu", "cluster_64gpu"])
def test_the_papers_configs_load(runtime: str) -> None:
    names = ("recipes/negationclip_p1", "backends/negationclip_paper", f"runtime/{runtime}")
    config = load(P1Config, [(name, (CONFIGS / f"{name}.yaml").read_text()) for name in names])
    writer: Any = config.negater
    assert writer.chat.sampling == Sampling(temperature=0.6, top_p=0.9, max_new_tokens=256)
    assert writer.chat == config.proposer.chat  # type: ignore[union-attr]
    judge: Any = config.verifier
    assert judge.chat.sampling.max_new_tokens == 10
    assert judge.chat.build().accepts_images
    if runtime == "one_node_8gpu":
        assert sum(n for n in config.runtime.actors.values() if isinstance(n, int)) == 8
    if runtime == "cluster_64gpu":
        most = [n if isinstance(n, int) else n[1] for n in config.runtime.actors.values()]
        assert sum(most) == 64


@pytest.mark.skipif(not INSTALLED, reason='vLLM is not installed; pip install "negscale[cpu]"')
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_missing_weights_name_the_token_and_the_mirror(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match=r"no-such-owner/none.*HF_TOKEN.*HF_ENDPOINT.*path"):
        VllmChatConfig(model="no-such-owner/none").build().load()
    with pytest.raises(ConfigError, match=r"vLLM cannot use model a/b from the folder"):
        VllmChatConfig(model="a/b", path=str(folder)).build().load()
