"""What trains: a table with one line a parameter, for the two layouts in which CLIP models come.

NegationCLIP's released `clip_finetune.py` freezes `visual` and `ln_final` and trains everything else, the logit scale
included, all of it with weight decay. What differs: the table is explicit, a parameter that it does not know is an error
(it would train in silence), and decay of norms, biases and embeddings can be switched off.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from negscale.core.errors import ConfigError

Role = Literal["visual", "embedding", "block", "norm", "ln_final", "projection", "logit_scale"]
ROLES: tuple[Role, ...] = get_args(Role)
_RULES: tuple[tuple[str, Role], ...] = (  # open_clip and OpenAI names, then those of transformers; first match wins
    (r"visual\..+", "visual"),
    (r"(text\.)?(token_embedding\.weight|positional_embedding|cls_emb)", "embedding"),
    (r"(text\.)?transformer\.resblocks\.\d+\.ln_[12]\..+", "norm"),
    (r"(text\.)?transformer\.resblocks\.\d+\..+", "block"),
    (r"(text\.)?ln_final\..+", "ln_final"),
    (r"(text\.)?text_projection(\.weight|\.bias)?", "projection"),
    (r"logit_scale|logit_bias", "logit_scale"),
    (r"(vision_model|visual_projection)\..+", "visual"),
    (r"text_model\.embeddings\..+", "embedding"),
    (r"text_model\.encoder\.layers\.\d+\.layer_norm[12]\..+", "norm"),
    (r"text_model\.encoder\.layers\.\d+\..+", "block"),
    (r"text_model\.final_layer_norm\..+", "ln_final"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One parameter of the table."""

    name: str
    role: Role
    trains: bool
    decays: bool


def text_encoder_only(
    model: Any, frozen: Sequence[Role] = ("visual", "ln_final"), decay_everything: bool = True
) -> tuple[Line, ...]:
    """The table of `model`'s parameters; sets `requires_grad` to match it.

    frozen: roles that do not train; `visual` must be among them. decay_everything: as released; else weight decay touches
    only matrices of blocks and the projection. Raises ConfigError for a parameter of no known role.
    """
    if "visual" not in frozen:
        raise ConfigError(
            "freeze must hold `visual`: this training reads embedded images, which a changing image tower would outdate"
        )
    table = []
    for name, parameter in model.named_parameters():
        role = role_of(name)
        trains = role not in frozen
        decays = trains and (decay_everything or (role in ("block", "projection") and parameter.ndim >= 2))
        parameter.requires_grad_(trains)
        table.append(Line(name, role, trains, decays))
    if not any(line.trains for line in table):
        raise ConfigError(f"freeze={list(frozen)} leaves nothing to train; the roles are {list(ROLES)}")
    return tuple(table)


def role_of(name: str) -> Role:
    """The role of a parameter by its name. Raises ConfigError for an unknown one."""
    for pattern, role in _RULES:
        if re.fullmatch(pattern, name):
            return role
    raise ConfigError(
        f"parameter {name!r} has no role in the table of what trains: the model is no CLIP of open_clip, OpenAI or "
        f"transformers with a causal text transformer"
    )
