from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from negscale.models import losses

SCALE = torch.tensor(7.0, dtype=torch.float64)


def unit(*shape: int, seed: int = 0) -> Tensor:
    return F.normalize(torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)), dim=-1)


def everyone(count: int) -> Tensor:
    return torch.ones(count, dtype=torch.bool)


def test_info_nce_is_the_released_loss() -> None:
    images, texts = unit(6, 5), unit(6, 5, seed=1)
    rows = losses.info_nce(images, texts, images, texts, SCALE, first=0, valid_N=everyone(6))
    # clip_finetune.py of NegationCLIP: the mean of two cross-entropies over the batch's square of logits
    logits, truth = SCALE * images @ texts.T, torch.arange(6)
    torch.testing.assert_close(rows.mean(), (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2)


def test_rows_of_a_worker_are_rows_of_the_whole() -> None:
    images, texts = unit(6, 5), unit(6, 5, seed=1)
    whole = losses.info_nce(images, texts, images, texts, SCALE, first=0, valid_N=everyone(6))
    half = losses.info_nce(images[3:], texts[3:], images, texts, SCALE, first=3, valid_N=everyone(6))
    torch.testing.assert_close(half, whole[3:])


def test_empty_slots_change_nothing() -> None:
    images, texts = unit(4, 5), unit(4, 5, seed=1)
    whole = losses.info_nce(images, texts, images, texts, SCALE, first=0, valid_N=everyone(4))
    more_images, more_texts = torch.cat([images, unit(2, 5, seed=8)]), torch.cat([texts, unit(2, 5, seed=9)])
    valid = torch.tensor([True] * 4 + [False] * 2)
    padded = losses.info_nce(more_images, more_texts, more_images, more_texts, SCALE, first=0, valid_N=valid)
    torch.testing.assert_close(padded[:4], whole)


def test_pairs_of_one_image_are_no_negatives() -> None:
    images, texts = unit(4, 5), unit(4, 5, seed=1)
    images[1] = images[0]  # two captions of one image
    key = torch.tensor([7, 7, 8, 9])
    masked = losses.info_nce(
        images, texts, images, texts, SCALE, first=0, valid_N=everyone(4), same_BN=losses.same_image(key, key)
    )
    without = [0, 2, 3]  # for row 0 the batch is as if row 1 were not there
    alone = losses.info_nce(
        images[without], texts[without], images[without], texts[without], SCALE, first=0, valid_N=everyone(3)
    )
    torch.testing.assert_close(masked[0], alone[0])
    assert masked[0] < losses.info_nce(images, texts, images, texts, SCALE, first=0, valid_N=everyone(4))[0]


def test_hard_negatives_count_for_their_own_image_alone() -> None:
    images, texts, hard = unit(3, 5), unit(3, 5, seed=1), unit(3, 2, 5, seed=2)
    there = torch.tensor([[True, True], [True, False], [False, False]])

    def loss(hard: Tensor) -> Tensor:
        return losses.info_nce(
            images, texts, images, texts, SCALE, first=0, valid_N=everyone(3), hard_BKD=hard, hard_valid_BK=there
        )

    plain = losses.info_nce(images, texts, images, texts, SCALE, first=0, valid_N=everyone(3))
    logits = torch.cat([SCALE * images[:1] @ texts.T, SCALE * (hard[0] @ images[0])[None]], 1)
    to_image = F.cross_entropy(SCALE * texts[:1] @ images.T, torch.tensor([0]))
    torch.testing.assert_close(loss(hard)[0], (F.cross_entropy(logits, torch.tensor([0])) + to_image) / 2)
    torch.testing.assert_close(loss(hard)[2], plain[2])
    other = hard.clone()
    other[0] = unit(2, 5, seed=5)
    torch.testing.assert_close(loss(other)[1:], loss(hard)[1:])


def test_mcq_sees_directions_not_lengths() -> None:
    image, options, answer = unit(3, 5), unit(3, 4, 5, seed=1), torch.tensor([0, 2, 3])
    rows = losses.mcq(image, options, answer, SCALE)
    for i in range(3):
        expected = F.cross_entropy((SCALE * options[i] @ image[i])[None], answer[i : i + 1])
        torch.testing.assert_close(rows[i], expected)


def test_statements_tell_nothing_to_a_model_without_images() -> None:
    images, true, false = unit(6, 5), unit(6, 3, 5, seed=1), unit(6, 3, 5, seed=2)
    found = losses.statements(images, true, false, SCALE)
    logits = torch.cat([true, false], 1) @ images[:, :, None]
    expected = [
        F.cross_entropy(SCALE * torch.cat([logits[:, k], logits[:, 3:, 0]], 1), torch.zeros(6, dtype=torch.long)) for k in range(3)
    ]  # fmt: skip
    torch.testing.assert_close(found.mean(), torch.stack(expected).mean())
    # a preference for forms: the same for a true statement and its twin
    bias = torch.tensor([0.0, 0.3, -0.2], dtype=torch.float64)[None, :, None] * images[:, None]
    for strength in (-2.0, -0.5, 0.5, 2.0):
        guess = losses.statements(images, 0 * true + strength * bias, 0 * false + strength * bias, SCALE)
        assert bool((guess >= torch.log(torch.tensor(4.0)) - 1e-12).all())


def test_false_statements_that_are_not_there_weigh_nothing() -> None:
    images, true, false = unit(4, 5), unit(4, 3, 5, seed=1), unit(4, 3, 5, seed=2)
    there = torch.tensor([[True, True, False], [True, True, True], [False, False, False], [True, True, False]])
    masked = losses.statements(images, true.requires_grad_(), false.requires_grad_(), SCALE, there)
    torch.testing.assert_close(masked[1], losses.statements(images, true, false, SCALE)[1])
    torch.testing.assert_close(masked[[0, 3]], losses.statements(images, true, false[:, :2], SCALE)[[0, 3]])
    assert masked[2].item() == 0
    masked.sum().backward()
    assert true.grad is not None
    assert false.grad is not None
    assert bool(torch.isfinite(true.grad).all())
    assert not bool(false.grad[2].any() or false.grad[0, 2].any())


def test_con_clip_is_the_mean_of_three() -> None:
    image, other, text, false = (unit(4, 5, seed=seed) for seed in range(4))
    rows = losses.con_clip(
        image, other, text, false, image, other, text, false, SCALE, first=0, valid_N=everyone(4)
    )  # fmt: skip
    truth = torch.arange(4)
    first = F.cross_entropy(SCALE * image @ torch.cat([text, false]).T, truth)
    second = F.cross_entropy(SCALE * text @ torch.cat([image, other]).T, truth)
    third = F.cross_entropy(SCALE * other @ torch.cat([false, text]).T, truth)
    torch.testing.assert_close(rows.mean(), (first + second + third) / 3)


def test_the_distractor_is_the_nearest_picture_of_another_image() -> None:
    images = F.normalize(torch.tensor([[1.0, 0], [1, 0], [0.9, 0.1], [0, 1]]), dim=1)
    key = torch.tensor([5, 5, 6, 7])
    found = losses.nearest_other(images, images, valid_N=everyone(4), same_BN=losses.same_image(key, key))
    assert found.tolist()[:3] == [2, 2, 0]
    lonely = losses.nearest_other(
        images[:2], images[:2], valid_N=everyone(2), same_BN=torch.ones(2, 2, dtype=torch.bool)
    )
    assert lonely.max() < 2


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.2])
def test_kept_in_place_is_the_cosine_moved(angle: float) -> None:
    angle_ = torch.tensor(angle, dtype=torch.float64)
    now, before = torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.stack([angle_.cos(), angle_.sin()])[None]
    torch.testing.assert_close(losses.kept_in_place(now, before)[0], 1 - angle_.cos())
