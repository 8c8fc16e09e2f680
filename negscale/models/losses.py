"""The losses of text-encoder training as pure functions of tensors; each returns one value a row.

Sources: NegationCLIP's released `clip_finetune.py` (arXiv 2501.10913: symmetric InfoNCE on negated captions), NegBench
(arXiv 2501.09425, section 5: contrastive and multiple-choice terms), NegCLIP (arXiv 2210.01936), CoN-CLIP
(arXiv 2403.20312, equations 1 to 3).

What differs. Every function takes the rows of this worker and the columns of all workers, so that the softmax runs over
the global batch while only the local rows are computed. Pairs of one image can be masked (`same_BN`): the released code
pushes a caption away from its own image when that image is in the batch twice. Features are L2-normalised before every
term; NegBench's released trainer forgets that in the multiple-choice term.

Legend of shape names: B rows of this worker, N rows of all workers, D numbers of an embedding, K hard negatives of a row,
M options of a question. Rows beyond the batch (padding) are marked False in `valid_N`; they are never candidates.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_LOGIT_SCALE = 4.605170185988092  # ln 100: CLIP's clamp (arXiv 2103.00020, section 2.5)


def info_nce(
    image_BD: Tensor, text_BD: Tensor, image_ND: Tensor, text_ND: Tensor, scale: Tensor, *, first: int, valid_N: Tensor,
    same_BN: Tensor | None = None, hard_BKD: Tensor | None = None, hard_valid_BK: Tensor | None = None,
    shared_ND: Tensor | None = None, shared_valid_N: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Symmetric InfoNCE [B] of unit vectors; the positive of local row i is column `first` + i.

    same_BN: True where a column belongs to the row's own image; such columns are no negatives.
    hard_BKD: texts that are false of the row's own image; candidates of that row's image alone, because nobody checked
    them on other images. shared_ND: false texts that are candidates of every image (NegCLIP's form).
    Texts beyond the positives are wrong answers in the image-to-text direction only: no image is known for which they hold.
    """
    target_B = first + torch.arange(len(image_BD), device=image_BD.device)
    blocked_BN = _blocked(target_B, valid_N, same_BN)
    to_text = (scale * image_BD @ text_ND.T).masked_fill(blocked_BN, -torch.inf)
    to_image = (scale * text_BD @ image_ND.T).masked_fill(blocked_BN, -torch.inf)
    columns = [to_text]
    if hard_BKD is not None:
        hard = scale * torch.einsum("bd,bkd->bk", image_BD, hard_BKD)
        columns.append(hard if hard_valid_BK is None else hard.masked_fill(~hard_valid_BK, -torch.inf))
    if shared_ND is not None:
        usable_N = valid_N if shared_valid_N is None else valid_N & shared_valid_N
        columns.append((scale * image_BD @ shared_ND.T).masked_fill(~usable_N[None], -torch.inf))
    return 0.5 * (_cross_entropy(torch.cat(columns, 1), target_B) + _cross_entropy(to_image, target_B))


def mcq(image_BD: Tensor, options_BMD: Tensor, answer_B: Tensor, scale: Tensor) -> Tensor:
    """Cross-entropy [B] of the true option among the question's own (NegBench's MCQ term), on unit vectors."""
    return _cross_entropy(scale * torch.einsum("bd,bmd->bm", image_BD, options_BMD), answer_B)


def statements(
    image_BD: Tensor, true_BKD: Tensor, false_BFD: Tensor, scale: Tensor, false_there_BF: Tensor | None = None
) -> Tensor:
    """[B]: each of an image's K true statements against all its F false ones, the mean of K cross-entropies; ours.

    Where F = K and each false statement is the twin of a true one, a model that looks at texts alone cannot get below the loss
    of a guess.
    false_there_BF: False where an image has no such statement; a row without any false one has loss 0.
    """
    true_BK = scale * torch.einsum("bd,bkd->bk", image_BD, true_BKD)
    false_BF = scale * torch.einsum("bd,bfd->bf", image_BD, false_BFD)
    if false_there_BF is not None:
        # a finite number: rows without any false statement would give infinite minus infinite in the gradient
        false_BF = false_BF.masked_fill(~false_there_BF, -1e4)
    others_B1 = torch.logsumexp(false_BF, 1, keepdim=True)
    return F.softplus(others_B1 - true_BK).mean(1)


def con_clip(
    image_BD: Tensor, other_BD: Tensor, text_BD: Tensor, false_BD: Tensor,
    image_ND: Tensor, other_ND: Tensor, text_ND: Tensor, false_ND: Tensor, scale: Tensor, *,
    first: int, valid_N: Tensor, same_BN: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """CoN-CLIP [B]: the mean of L1 = CE(I to [c; c']), L2 = CE(c to [I; I']) and L3 = CE(I' to [c'; c]).

    other: a distractor image of each row (I'); false: its caption with something denied that is there (c').
    """
    target_B = first + torch.arange(len(image_BD), device=image_BD.device)
    blocked_BN = _blocked(target_B, valid_N, same_BN)
    free_BN = (~valid_N)[None].expand(len(image_BD), -1)

    def logits(row_BD: Tensor, positive_ND: Tensor, negative_ND: Tensor) -> Tensor:
        near = (scale * row_BD @ positive_ND.T).masked_fill(blocked_BN, -torch.inf)
        return torch.cat([near, (scale * row_BD @ negative_ND.T).masked_fill(free_BN, -torch.inf)], 1)

    return (
        _cross_entropy(logits(image_BD, text_ND, false_ND), target_B)
        + _cross_entropy(logits(text_BD, image_ND, other_ND), target_B)
        + _cross_entropy(logits(other_BD, false_ND, text_ND), target_B)
    ) / 3


def kept_in_place(text_BD: Tensor, before_BD: Tensor) -> Tensor:
    """1 - cosine [B] between an affirmative caption's embedding now and before training: what retrieval rests on."""
    return 1 - (text_BD * before_BD).sum(1)


def nearest_other(image_BD: Tensor, image_ND: Tensor, *, valid_N: Tensor, same_BN: Tensor) -> Tensor:
    """int64[B]: the column of the most similar picture of another image; CoN-CLIP's distractor, found in the batch.

    The authors look it up in a precomputed map over COCO. A row whose image fills the batch gets its own column.
    """
    similar = image_BD @ image_ND.T
    found = similar.masked_fill(~valid_N[None] | same_BN, -torch.inf)
    none = ~torch.isfinite(found).any(1, keepdim=True)
    return torch.where(none, similar, found).argmax(1)


def same_image(key_B: Tensor, key_N: Tensor) -> Tensor:
    """bool[B, N]: rows and columns of one image, by a hash of the image's name."""
    return key_B[:, None] == key_N[None]


def _blocked(target_B: Tensor, valid_N: Tensor, same_BN: Tensor | None) -> Tensor:
    """Columns that are no candidates of a row; its positive always is one."""
    blocked = (~valid_N)[None].expand(len(target_B), -1)
    if same_BN is not None:
        blocked = blocked | same_BN
    return blocked & (torch.arange(len(valid_N), device=target_B.device)[None] != target_B[:, None])


def _cross_entropy(logits: Tensor, target_B: Tensor) -> Tensor:
    return F.cross_entropy(logits, target_B, reduction="none")
