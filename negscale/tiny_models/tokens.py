"""Byte-level BPE tokenizers trained on the lessons, with a chat template that takes text and images.

Any text can be encoded; the words of toyworld and of the prompts are one token each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from negscale.core.backend import Turn

PAD, BEGIN, END, IMAGE = "<|pad|>", "<|begin|>", "<|end|>", "<image>"
SPECIAL = (PAD, BEGIN, END, "<|system|>", "<|user|>", "<|assistant|>", IMAGE)
TEMPLATE = (
    "{{ '<|begin|>' }}{% for message in messages %}<|{{ message['role'] }}|>"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}"
    "<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(texts: Iterable[str], vocabulary: int, max_length: int, frame: bool = False) -> Any:
    """A `PreTrainedTokenizerFast` of at most `vocabulary` tokens. `frame`: each text gets begin and end, as CLIP's does.

    CLIP's end mark is its highest token, and open_clip finds the end of a text by that: so is the mark of framed texts.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    first = [PAD] if frame else list(SPECIAL)
    inner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=first, initial_alphabet=sorted(alphabet), show_progress=False
        ),
    )
    if frame:
        inner.add_special_tokens([AddedToken(mark, special=True) for mark in (BEGIN, END)])  # they come last
        marks = [(mark, inner.token_to_id(mark)) for mark in (BEGIN, END)]
        inner.post_processor = processors.TemplateProcessing(single=f"{BEGIN} $A {END}", special_tokens=marks)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=BEGIN, eos_token=END, pad_token=PAD,
        additional_special_tokens=[] if frame else list(SPECIAL[3:]), model_max_length=max_length,
        padding_side="right" if frame else "left",
    )  # fmt: skip
    if not frame:
        tokenizer.chat_template = TEMPLATE
    return tokenizer


def messages(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """Turns as a chat template takes them; an image is a mark before the text of its turn."""
    return [
        {"role": turn.role, "content": turn.text}
        if turn.image is None
        else {"role": turn.role, "content": [{"type": "image"}, {"type": "text", "text": turn.text}]}
        for turn in turns
    ]


def prompt_ids(tokenizer: Any, turns: Sequence[Turn]) -> list[int]:
    """The conversation up to the place where the answer begins."""
    text = tokenizer.apply_chat_template(messages(turns), add_generation_prompt=True, tokenize=False)
    return tokenizer.encode(text, add_special_tokens=False)


def answer_ids(tokenizer: Any, answer: str) -> list[int]:
    """The answer and its end."""
    return [*tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
