"""Small vision models with random weights in the layout of the hub, for tests of the adapters over transformers and open_clip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.unit.backends.made_models import WORDS, make_tokenizer

CLASSES = ("person", "car", "dog")
TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


def pictures() -> list[np.ndarray]:
    """A wide, a tall, a square and a grey picture with areas of colour, uint8[H, W, 3]."""
    rng = np.random.default_rng(0)
    found = []
    for height, width, channels in ((40, 90, 3), (80, 50, 3), (64, 64, 3), (30, 70, 1)):
        areas = rng.integers(0, 255, (2, 2, channels), np.uint8)
        found.append(np.ascontiguousarray(np.broadcast_to(
            areas.repeat(height // 2, axis=0).repeat(width // 2, axis=1), (height, width, 3)
        )))  # fmt: skip
    return found


def _clip_tokenizer(folder: Path, length: int) -> Any:
    """Begin and end of text around each text, the end with the highest id: there CLIP's towers look for the meaning."""
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer(folder, length)
    tokenizer.add_special_tokens({"eos_token": "<|stop|>"})
    ends = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("<|begin|>", "<|stop|>")]
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<|begin|> $A <|stop|>", special_tokens=ends)
    tokenizer.save_pretrained(folder)
    return tokenizer


def make_owl(folder: Path, version: int = 1) -> Path:
    """OWL-ViT, or OWLv2 with its padding to a square."""
    import torch
    import transformers as tf

    tokenizer = _clip_tokenizer(folder, 16)
    v2 = version == 2
    text = {**TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 16}
    vision = {**TEXT, "image_size": 32, "patch_size": 8}
    size = {"height": 32, "width": 32}
    torch.manual_seed(0)
    if v2:
        config: Any = tf.Owlv2Config(text_config=text, vision_config=vision, projection_dim=32)
        model: Any = tf.Owlv2ForObjectDetection(config)
        processor: Any = tf.Owlv2Processor(tf.Owlv2ImageProcessor(size=size), tokenizer)
    else:
        config = tf.OwlViTConfig(text_config=text, vision_config=vision, projection_dim=32)
        model = tf.OwlViTForObjectDetection(config)
        processor = tf.OwlViTProcessor(tf.OwlViTImageProcessor(size=size, do_center_crop=False), tokenizer)
    _spread(model)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_grounding_dino(folder: Path, mm: bool = False) -> Path:
    """Grounding DINO, or MM Grounding DINO (LLMDet's network), over a Swin and a BERT of one layer each."""
    import torch
    import transformers as tf

    # the model code knows [CLS], [SEP] and the dot by BERT's own ids
    words = [f"[unused{n}]" for n in range(1030)]
    words[0], words[100], words[101], words[102], words[1012], words[1029] = (
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        ".",
        "?",
    )
    words[200 : 200 + len(CLASSES)] = CLASSES
    words += sorted(set(WORDS.split()) - set(words))
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = tf.BertTokenizer.from_pretrained(folder)
    torch.manual_seed(0)
    config = (tf.MMGroundingDinoConfig if mm else tf.GroundingDinoConfig)(
        backbone_config=tf.SwinConfig(
            image_size=64, patch_size=4, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[2, 2, 2, 2], window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config=tf.BertConfig(vocab_size=len(words), **TEXT),
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=64, decoder_ffn_dim=64, encoder_attention_heads=2,
        decoder_attention_heads=2, num_queries=12, num_feature_levels=4, encoder_n_points=2, decoder_n_points=2,
    )  # fmt: skip
    made: Any = tf.MMGroundingDinoForObjectDetection if mm else tf.GroundingDinoForObjectDetection
    _spread(model := made(config))
    model.save_pretrained(folder)
    eyes = tf.GroundingDinoImageProcessor(size={"shortest_edge": 160, "longest_edge": 240})
    tf.GroundingDinoProcessor(eyes, tokenizer).save_pretrained(folder)
    return folder


def make_detr(folder: Path) -> Path:
    """DETR over a ResNet of one layer a stage."""
    import torch
    import transformers as tf

    torch.manual_seed(0)
    backbone = tf.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1], layer_type="basic", out_features=["stage4"]
    )
    config = tf.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone, d_model=32,
        encoder_layers=1, decoder_layers=1, encoder_ffn_dim=64, decoder_ffn_dim=64, encoder_attention_heads=2,
        decoder_attention_heads=2, num_queries=12, num_labels=4,
        id2label=dict(enumerate(("N/A", *CLASSES))), label2id={n: i for i, n in enumerate(("N/A", *CLASSES))},
    )  # fmt: skip
    _spread(model := tf.DetrForObjectDetection(config))
    model.save_pretrained(folder)
    tf.DetrImageProcessor(size={"shortest_edge": 48, "longest_edge": 96}).save_pretrained(folder)
    return folder


def make_rt_detr(folder: Path) -> Path:
    """RT-DETR: no padding, another family of post-processing."""
    import torch
    import transformers as tf

    torch.manual_seed(0)
    backbone = tf.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = tf.RTDetrConfig(
        backbone_config=backbone, backbone=None, encoder_hidden_dim=32, encoder_in_channels=[16, 16, 16],
        encoder_ffn_dim=64, encoder_attention_heads=2, d_model=32, num_queries=12, decoder_in_channels=[32, 32, 32],
        decoder_ffn_dim=64, decoder_layers=2, decoder_attention_heads=2, num_denoising=0,
        id2label=dict(enumerate(CLASSES)), label2id={name: number for number, name in enumerate(CLASSES)},
    )  # fmt: skip
    _spread(model := tf.RTDetrForObjectDetection(config))
    model.save_pretrained(folder)
    tf.RTDetrImageProcessor(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def make_blip(folder: Path) -> Path:
    """BLIP with the image-text matching heads."""
    import torch
    import transformers as tf

    tokenizer = make_tokenizer(folder, 32)
    torch.manual_seed(0)
    config = tf.BlipConfig(
        text_config={
            **TEXT, "vocab_size": len(tokenizer), "encoder_hidden_size": 32, "max_position_embeddings": 32,
            "bos_token_id": 1, "pad_token_id": 0, "sep_token_id": 2, "eos_token_id": 2,
        },
        vision_config={**TEXT, "image_size": 32, "patch_size": 8}, projection_dim=32, image_text_hidden_size=16,
    )  # fmt: skip
    _spread(model := tf.BlipForImageTextRetrieval(config))
    model.save_pretrained(folder)
    eyes = tf.BlipImageProcessor(size={"height": 32, "width": 32})
    tf.BlipProcessor(eyes, tokenizer).save_pretrained(folder)
    return folder


def make_dual(folder: Path, kind: str = "clip") -> Path:
    """CLIP or SigLIP."""
    import torch
    import transformers as tf

    tokenizer = _clip_tokenizer(folder, 16)
    text = {
        **TEXT, "vocab_size": len(tokenizer), "max_position_embeddings": 16, "pad_token_id": 0, "bos_token_id": 1,
        "eos_token_id": 2, "projection_size": 32,
    }  # fmt: skip
    vision = {**TEXT, "image_size": 32, "patch_size": 8}
    size = {"height": 32, "width": 32}
    torch.manual_seed(0)
    if kind == "clip":
        model: Any = tf.CLIPModel(tf.CLIPConfig(text_config=text, vision_config=vision, projection_dim=24))
        eyes: Any = tf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size)
    else:
        model = tf.SiglipModel(tf.SiglipConfig(text_config=text, vision_config=vision))
        eyes = tf.SiglipImageProcessor(size=size)
    _spread(model)
    model.save_pretrained(folder)
    eyes.save_pretrained(folder)
    return folder


def make_open_clip(folder: Path) -> tuple[str, Path]:
    """(architecture name, checkpoint) of a tiny CLIP that open_clip builds."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    shape = {
        "embed_dim": 24,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    }
    (folder / "made-tiny.json").write_text(json.dumps(shape))
    open_clip.add_model_config(folder / "made-tiny.json")
    torch.manual_seed(0)
    _spread(model := open_clip.create_model("made-tiny"))
    path = folder / "weights.safetensors"
    save_file(dict(model.state_dict()), path)
    return "made-tiny", path


def _spread(model: Any) -> None:
    """Weights of the size that keeps signals: scores and boxes differ from picture to picture and from text to text."""
    import torch

    torch.manual_seed(1)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                weights.normal_(0.0, weights[0].numel() ** -0.5)
