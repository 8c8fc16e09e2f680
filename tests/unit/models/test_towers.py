from __future__ import annotations

import open_clip
import pytest
import torch
from torch.nn import functional as F

from negscale.core.errors import ConfigError
from negscale.models.towers import OpenClipTokenizer, TextEncoder, TransformersTokenizer
from tests.unit.training.tiny_clip import TINY, small_clip, small_open_clip

TEXTS = ["a dog", "a man riding a horse with no hat on a long and sunny beach", "no cat", ""]


def test_cutting_at_the_longest_text_changes_nothing() -> None:
    model = small_open_clip()
    tokens = OpenClipTokenizer(open_clip.get_tokenizer("ViT-B-32"), 77)(TEXTS)
    full = open_clip.get_tokenizer("ViT-B-32")(TEXTS)
    assert tokens.ids_TL.shape[1] < 20
    assert torch.equal(full[:, : tokens.ids_TL.shape[1]], tokens.ids_TL)
    with torch.no_grad():
        expected = model.encode_text(full, normalize=True)
        scale = model.logit_scale.exp()
        found, factor = TextEncoder(model)(tokens.ids_TL)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)
    assert factor == scale


@pytest.mark.parametrize("eos", [199, 7])
def test_transformers_models_give_their_own_embedding(eos: int) -> None:
    model = small_clip(eos=eos)
    ids = torch.tensor([[198, 3, 4, eos, 0, 0], [198, 9, 120, 33, 12, eos]])
    with torch.no_grad():
        found = model.get_text_features(input_ids=ids, attention_mask=(ids != 0).long())
        expected = F.normalize(found if hasattr(found, "shape") else found.pooler_output, dim=-1)
        torch.testing.assert_close(TextEncoder(model)(ids)[0], expected, rtol=0, atol=2e-6)


def test_texts_beyond_the_context_are_cut_and_counted() -> None:
    long = "a very long caption " * 40
    tokenizer = open_clip.get_tokenizer("ViT-B-32")
    tokens = OpenClipTokenizer(tokenizer, 77)([long, "short"])
    assert tokens.truncated == 1
    assert torch.equal(tokens.ids_TL, tokenizer([long, "short"]))
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(TINY.path)
    tokens = TransformersTokenizer(theirs, 32)([long, "a dog"])
    assert tokens.truncated == 1
    assert tokens.ids_TL.shape == (2, 32)
    assert tokens.ids_TL[0, -1] == theirs.eos_token_id


def test_models_that_are_no_clip_are_refused() -> None:
    with pytest.raises(ConfigError, match="expected open_clip's CLIP"):
        TextEncoder(torch.nn.Linear(2, 2))
