"""From turns to tokens and labels, by the tokenizer's own chat template.

A template is asked for growing prefixes of the conversation: what an assistant's turn adds to the prompt before it is
that turn's text (its end-of-turn mark included), and there alone the labels fall. Each stretch is tokenised on its
own, so the tokens before an answer are the same in training, in scoring and in generation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from transformers import PreTrainedTokenizerBase

from deemo_dist.errors import ModelError
from deemo_dist.model.vocabulary import PLACEHOLDERS
from deemo_dist.records import Turn

IGNORED = -100


@dataclass(frozen=True, kw_only=True)
class Sequence1D:
    """Tokens of one conversation and their labels: the same token where loss falls, -100 elsewhere."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def targets(self) -> int:
        """How many tokens carry loss."""
        return sum(label != IGNORED for label in self.labels)


def neutral(text: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """``text`` in which no special token can be read: a transcript must not be able to open a turn or a medium."""
    for token in _special(tokenizer):
        text = text.replace(token, f"{token[0]} {token[1:]}") if len(token) > 1 else text
    return text


@lru_cache(maxsize=4)
def _special(tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """All that a tokenizer reads as one token whatever stands around it: those that have a role, the placeholders of
    media, and others that were added (``all_special_tokens`` holds only the first kind); longer ones first."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return tuple(sorted({*tokenizer.all_special_tokens, *PLACEHOLDERS, *added}, key=lambda token: (-len(token), token)))


def stretches(
    turns: Sequence[Turn], shown: Sequence[str], tokenizer: PreTrainedTokenizerBase, *, answer: bool
) -> list[tuple[str, bool]]:
    """(text, whether it is the assistant's) in order. ``shown``: the placeholders set ahead of the first user turn.

    ``answer`` False ends with the prompt for an answer, dropping a last assistant turn. Raises ``ModelError``.
    """
    messages = _messages(turns, shown, tokenizer)
    if not answer:
        messages = messages[:-1] if messages[-1]["role"] == "assistant" else messages
    out: list[tuple[str, bool]] = []
    done = ""
    for number, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = _rendered(tokenizer, messages[:number], prompt=True)
        after = _rendered(tokenizer, messages[: number + 1], prompt=False)
        out += [(_added(before, done), False), (_added(after, before), True)]
        done = after
    last = _rendered(tokenizer, messages, prompt=not answer)
    return [*out, (_added(last, done), False)]


def answer_ends(tokenizer: PreTrainedTokenizerBase) -> int | list[int] | None:
    """The tokens that end an answer, as a generation's ``eos_token_id``: the tokenizer's own, and the special token by
    which its chat template ends an assistant's turn, where that is another. Raises ``ModelError`` as ``stretches``."""
    turns = (Turn(role="user", text="a question"), Turn(role="assistant", text="an answer"))
    said = "".join(text for text, is_answer in stretches(turns, (), tokenizer, answer=True) if is_answer)
    special = {tokenizer.convert_tokens_to_ids(token) for token in _special(tokenizer)}
    after: list[int] = tokenizer(said.rpartition(turns[1].text)[2], add_special_tokens=False)["input_ids"]
    own = tokenizer.eos_token_id
    mark = next((token for token in after if token in special), own)
    return own if mark == own else mark if own is None else [own, mark]


def _messages(turns: Sequence[Turn], shown: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> list[dict[str, str]]:
    first = next((number for number, turn in enumerate(turns) if turn.role == "user"), None)
    if first is None:
        raise ModelError("a conversation needs a user's turn")
    messages = [{"role": turn.role, "content": neutral(turn.text, tokenizer)} for turn in turns]
    messages[first]["content"] = "".join(shown) + messages[first]["content"]
    return messages


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: list[dict[str, str]], *, prompt: bool) -> str:
    text: Any = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
    return str(text)


def _added(text: str, prefix: str) -> str:
    if not text.startswith(prefix):
        raise ModelError(
            "the tokenizer's chat template rewrites earlier turns as a conversation grows, so labels cannot be placed",
            hint="give the tokenizer a template that only appends",
        )
    return text[len(prefix) :]


def to_sequence(
    parts: Sequence[tuple[str, bool]], expansions: dict[int, int], tokenizer: PreTrainedTokenizerBase
) -> Sequence1D:
    """Tokenise stretches; a placeholder id is repeated by ``expansions``. The first token never carries loss."""
    ids: list[int] = []
    labels: list[int] = []
    for text, is_answer in parts:
        if not text:
            continue
        for token in tokenizer(text, add_special_tokens=False)["input_ids"]:
            copies = expansions.get(token, 1)
            ids += [token] * copies
            labels += [token if is_answer and ids[:-copies] else IGNORED] * copies
    if not ids:
        raise ModelError("a conversation became no tokens at all", hint="is its text empty?")
    return Sequence1D(ids=tuple(ids), labels=tuple(labels))


def placeholder_ids(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int, int]:
    """Ids of ``<video> <audio> <cues>``; ``ModelError`` where the tokenizer lacks them."""
    ids = [tokenizer.convert_tokens_to_ids(token) for token in PLACEHOLDERS]
    unknown = [
        token for token, number in zip(PLACEHOLDERS, ids, strict=True) if number in (None, tokenizer.unk_token_id)
    ]
    if unknown:
        raise ModelError(f"the tokenizer does not know {', '.join(unknown)}", hint="build it by build_processor")
    video, audio, cues = (int(str(number)) for number in ids)
    return video, audio, cues
