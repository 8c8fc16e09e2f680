"""Dual encoders and the judges over them, on small random models through transformers and open_clip."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from negscale.backends.dual_encoders import HfDualEncoderConfig, OpenClipEncoderConfig
from negscale.backends.encoder_judge import EncoderJudgeConfig
from negscale.backends.hf_itm import HfItmConfig
from negscale.core.backend import Picture, Verdict
from negscale.core.errors import ConfigError
from negscale.core.stage import Fault
from tests.unit.backends.made_vision import make_blip, make_detr, make_dual, make_open_clip, pictures

pytest.importorskip("torch")
pytest.importorskip("transformers")

PICTURES = pictures()
TEXTS = ["a dog", "a cat in the park", "a photo of a tree"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {"blip": make_blip(tmp_path_factory.mktemp("blip"))}
    return made | {kind: make_dual(tmp_path_factory.mktemp(kind), kind) for kind in ("clip", "siglip")}


def loaded(config: Any) -> Any:
    built = config.build()
    built.load()
    return built


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_vectors_are_those_of_transformers(folders: dict[str, Path], kind: str) -> None:
    import torch
    import transformers as tf

    encoder = loaded(HfDualEncoderConfig(model=f"made/{kind}", path=str(folders[kind])))
    net: Any = tf.AutoModel.from_pretrained(folders[kind])
    eyes = tf.AutoImageProcessor.from_pretrained(folders[kind])
    words = tf.AutoTokenizer.from_pretrained(folders[kind])
    padding = {"padding": "max_length", "max_length": 16} if kind == "siglip" else {"padding": True}
    tokens = words(TEXTS, return_tensors="pt", return_token_type_ids=False, **padding)
    with torch.inference_mode():
        both = net(**eyes(images=PICTURES, return_tensors="pt"), **tokens)
    assert encoder.encode_images(PICTURES) == pytest.approx(both.image_embeds.numpy(), abs=1e-5)
    assert encoder.encode_texts(TEXTS) == pytest.approx(both.text_embeds.numpy(), abs=1e-5)


def test_open_clip_vectors_are_open_clips(tmp_path: Path) -> None:
    import open_clip
    import torch
    from PIL import Image

    name, path = make_open_clip(tmp_path)
    config = OpenClipEncoderConfig(model=name, path=str(path))
    encoder = loaded(config)
    net, _, transform = open_clip.create_model_and_transforms(name, pretrained=str(path))
    net.eval()
    with torch.inference_mode():
        pixels = torch.stack([transform(Image.fromarray(p)) for p in PICTURES])  # type: ignore[operator]
        images = net.encode_image(pixels, normalize=True).numpy()  # type: ignore[operator]
        texts = net.encode_text(open_clip.get_tokenizer(name)(TEXTS), normalize=True).numpy()  # type: ignore[operator]
    assert encoder.encode_images(PICTURES) == pytest.approx(images, abs=1e-5)
    assert encoder.encode_texts(TEXTS) == pytest.approx(texts, abs=1e-5)
    assert encoder.id.startswith(f"open_clip/{name}@file-")
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(path.read_bytes())
    assert OpenClipEncoderConfig(model=name, path=str(moved)).identity() == config.identity()
    with pytest.raises(ConfigError, match="no weights named"):
        OpenClipEncoderConfig(model="ViT-B-32").check_access()
    with pytest.raises(ConfigError, match="is no file"):
        OpenClipEncoderConfig(model="ViT-B-32", path=str(tmp_path / "gone.pt")).check_access()


@pytest.mark.parametrize("head", ["itc", "itm"])
def test_matching_scores_are_those_of_transformers(folders: dict[str, Path], head: Any) -> None:
    import torch
    import transformers as tf

    judge = loaded(
        HfItmConfig(model="made/blip", path=str(folders["blip"]), head=head, threshold=0.4, run={"batch_size": 3})
    )  # type: ignore[arg-type]
    net: Any = tf.BlipForImageTextRetrieval.from_pretrained(folders["blip"])
    processor: Any = tf.AutoProcessor.from_pretrained(folders["blip"])
    asked = [(p, t) for p in PICTURES for t in ("dog", "a cat in the park")]
    answers = judge.judge([Picture(p, "x") for p, _ in asked], [t for _, t in asked])
    for (picture, text), answer in zip(asked, answers, strict=True):
        inputs = processor(images=picture, text=text, return_tensors="pt")
        with torch.inference_mode():
            raw = net(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], pixel_values=inputs["pixel_values"],
                use_itm_head=head == "itm",
            ).itm_score  # fmt: skip
        score = raw.softmax(-1)[0, 1].item() if head == "itm" else raw[0, 0].item()
        assert isinstance(answer, Verdict)
        assert answer.score == pytest.approx(min(max(score, 0), 1), abs=1e-4)
        assert answer.accept == (score >= 0.4)
    assert len({round(a.score, 4) for a in answers}) > 5


def test_encoder_judge_follows_its_written_rule(folders: dict[str, Path]) -> None:
    encoder = HfDualEncoderConfig(model="made/clip", path=str(folders["clip"]))
    plain = loaded(EncoderJudgeConfig(encoder=encoder, threshold=0.1))
    contrast = loaded(EncoderJudgeConfig(encoder=encoder, rule="contrast", threshold=0.5, logit_scale=10))
    rows = loaded(encoder)
    images, texts = rows.encode_images(PICTURES), rows.encode_texts(["a photo of dog", "a photo without dog"])
    asked = [Picture(p, str(n)) for n, p in enumerate(PICTURES)]
    for answer, other, image in zip(
        plain.judge(asked, ["dog"] * 4), contrast.judge(asked, ["dog"] * 4), images, strict=True
    ):
        cosines = texts @ image
        share = 1 / (1 + np.exp(10 * (cosines[1] - cosines[0])))
        assert answer.score == pytest.approx(max(0.0, cosines[0]), abs=1e-5)
        assert answer.accept == (cosines[0] >= 0.1)
        assert other.score == pytest.approx(share, abs=1e-5)
    assert plain.id != contrast.id
    assert "hf/made/clip@files-" in plain.id


def test_bad_pictures_are_faults_beside_good_ones(folders: dict[str, Path]) -> None:
    encoder = HfDualEncoderConfig(model="made/clip", path=str(folders["clip"]))
    judges = [
        loaded(EncoderJudgeConfig(encoder=encoder)),
        loaded(HfItmConfig(model="made/blip", path=str(folders["blip"]))),
    ]
    for judge in judges:
        odd = [
            Picture(PICTURES[0], "a"),
            Picture(None, "b"),
            Picture(PICTURES[0][..., 0], "c"),
            Picture(PICTURES[1], "d"),
        ]
        kinds = [a.kind if isinstance(a, Fault) else "verdict" for a in judge.judge(odd, ["dog"] * 4)]
        assert kinds == ["verdict", "no_pixels", "bad_pixels", "verdict"]
    with pytest.raises(ValueError, match=r"image 1: expected uint8"):
        loaded(encoder).encode_images([PICTURES[0], PICTURES[0].astype(np.float32)])


def test_the_wrong_kind_of_model_is_named(tmp_path: Path) -> None:
    path = str(make_detr(tmp_path))
    with pytest.raises(ConfigError, match="no dual encoder"):
        HfDualEncoderConfig(model="made/detr", path=path).build().load()
    with pytest.raises(ConfigError, match=r"of type 'detr'.*needs one of blip"):
        HfItmConfig(model="made/detr", path=path).build().load()
    with pytest.raises(ValueError, match="positive must hold"):
        EncoderJudgeConfig(encoder=HfDualEncoderConfig(model="a/b"), positive="a dog")
