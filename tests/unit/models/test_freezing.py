from __future__ import annotations

import re

import pytest
import torch

from negscale.core.errors import ConfigError
from negscale.models.freezing import role_of, text_encoder_only
from tests.unit.training.tiny_clip import small_clip, small_open_clip


def blocks(prefix: str, parts: str) -> set[str]:
    return {f"{prefix}.{layer}.{part}" for layer in range(2) for part in parts.split()}


OPEN_CLIP = {
    "positional_embedding", "text_projection", "logit_scale", "token_embedding.weight",
    *blocks(
        "transformer.resblocks",
        "ln_1.weight ln_1.bias attn.in_proj_weight attn.in_proj_bias attn.out_proj.weight attn.out_proj.bias "
        "ln_2.weight ln_2.bias mlp.c_fc.weight mlp.c_fc.bias mlp.c_proj.weight mlp.c_proj.bias",
    ),
}  # fmt: skip
TRANSFORMERS = {
    "logit_scale", "text_projection.weight", "text_model.embeddings.token_embedding.weight",
    "text_model.embeddings.position_embedding.weight",
    *blocks(
        "text_model.encoder.layers",
        "self_attn.q_proj.weight self_attn.q_proj.bias self_attn.k_proj.weight self_attn.k_proj.bias "
        "self_attn.v_proj.weight self_attn.v_proj.bias self_attn.out_proj.weight self_attn.out_proj.bias "
        "layer_norm1.weight layer_norm1.bias layer_norm2.weight layer_norm2.bias "
        "mlp.fc1.weight mlp.fc1.bias mlp.fc2.weight mlp.fc2.bias",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("model", "expected"), [(small_open_clip, OPEN_CLIP), (small_clip, TRANSFORMERS)])
def test_negationclip_freezes_visual_and_ln_final_and_nothing_else(model, expected) -> None:
    made = model()
    table = text_encoder_only(made)
    names = {name for name, _ in made.named_parameters()}
    assert {line.name for line in table} == names
    assert {line.name for line in table if line.trains} == expected
    assert {name for name, parameter in made.named_parameters() if parameter.requires_grad} == expected
    frozen = names - expected
    assert all(
        re.match(r"visual|ln_final|vision_model|visual_projection|text_model\.final_layer_norm", name)
        for name in frozen
    )
    assert any("final" in name for name in frozen)
    assert {line.name for line in table if line.decays} == expected  # as released: everything decays


@pytest.mark.parametrize("model", [small_open_clip, small_clip])
def test_corrected_decay_leaves_norms_biases_embeddings_and_scale_alone(model) -> None:
    made = model()
    table = text_encoder_only(made, ("visual",), decay_everything=False)
    shapes = {name: parameter.ndim for name, parameter in made.named_parameters()}
    decaying = {line.name for line in table if line.decays}
    assert all(shapes[name] == 2 for name in decaying)
    assert not [name for name in decaying if re.search(r"embedding|ln_|norm|logit", name)]
    assert len(decaying) == (2 * 4 + 1 if "text_projection" in shapes else 2 * 6 + 1)
    assert {line.name for line in table if line.role == "ln_final" and line.trains}


def test_a_parameter_without_a_role_is_an_error() -> None:
    made = small_open_clip()
    made.adapter = torch.nn.Linear(2, 2)
    with pytest.raises(ConfigError, match=r"adapter\.weight.*no role"):
        text_encoder_only(made)
    with pytest.raises(ConfigError, match="visual"):
        text_encoder_only(small_clip(), ("ln_final",))
    assert role_of("text.transformer.resblocks.3.ln_1.bias") == "norm"
