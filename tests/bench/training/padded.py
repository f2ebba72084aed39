"""Useful tokens a second through a language model: packs by our attention, and padded batches of sorted lengths.

The peer is how transformers' Trainer does it with ``group_by_length``: its own sampler, right-padded batches, sdpa
with a mask, the model's own loss. Both show the same examples, those of the run ``smollm2``, in batches of as many,
to a model of that size.
"""

import time
from collections.abc import Callable, Sequence
from functools import cache

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.trainer_pt_utils import LengthGroupedSampler

from deemo_dist.config import load
from deemo_dist.dataset import Budget
from deemo_dist.dataset.packing import pack
from deemo_dist.model import build_config, build_processor
from deemo_dist.model.attention import NAME
from deemo_dist.model.conversation import IGNORED, Sequence1D
from deemo_dist.model.modeling import loss_over
from deemo_dist.records import Example, Turn
from deemo_dist.samples import plan_clips
from deemo_dist.samples.words import reasoning
from tests.bench.plane.samples import example_of

RUN, STAGE, THREADS, BATCHES = "smollm2", "instruct", 2, 2
Batch = dict[str, Tensor]


@cache
def sequences() -> tuple[Sequence1D, ...]:
    """The run's training examples as tokens: media's tokens, question, answer."""
    config = load(RUN)
    processor = build_processor(config.model)
    made = []
    for plan in plan_clips(75, 8, config.seed):
        answers = {"emotion": plan.emotion, "explain": reasoning(plan.gesture, plan.prosody, plan.emotion)}
        for task in config.stages[STAGE].tasks:
            asked = config.tasks[task].prompt.replace("{transcript}", plan.transcript)
            turns = (Turn(role="user", text=asked), Turn(role="assistant", text=answers[task]))
            bare: Example = example_of(plan.file_name, 0, "", ())
            made.append(processor.sequence(Example(**{**vars(bare), "turns": turns})))
    return tuple(made)


def language_model(attention: str) -> nn.Module:
    """The run's language model, of random weights."""
    described = build_config(load(RUN).model).text_config
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(described, attn_implementation=attention).train()


def packs() -> list[Batch]:
    """The first packs under a budget of tokens."""
    lengths = torch.tensor([[len(each.ids), 0, 0] for each in sequences()]).numpy()
    groups = pack(lengths, Budget(tokens=load(RUN).stages[STAGE].max_tokens, frames=10**6, audio_seconds=1e6))
    return [packed([sequences()[number] for number in group]) for group in list(groups)[:BATCHES]]


def packed(members: Sequence[Sequence1D]) -> Batch:
    """Sequences end to end."""
    lengths = torch.tensor([len(each.ids) for each in members])
    return {
        "input_ids": torch.tensor([[token for each in members for token in each.ids]]),
        "labels": torch.tensor([[label for each in members for label in each.labels]]),
        "position_ids": torch.cat([torch.arange(int(length)) for length in lengths]).unsqueeze(0),
        "cu_seqlens": torch.cat([torch.zeros(1), lengths.cumsum(0)]).to(torch.int32),
    }


def padded_batches(size: int) -> list[Batch]:
    """Batches of ``size`` examples, alike in length by the peer's own sampler."""
    lengths = [len(each.ids) for each in sequences()]
    order = list(LengthGroupedSampler(size, lengths=lengths, generator=torch.Generator().manual_seed(1)))
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    chosen = [groups[number] for number in torch.linspace(0, len(groups) - 2, BATCHES + 2)[1:-1].long().tolist()]
    return [padded([sequences()[number] for number in group]) for group in chosen]


def padded(members: Sequence[Sequence1D]) -> Batch:
    """Sequences as rows, padded at their ends."""
    longest = max(len(each.ids) for each in members)
    rest = [longest - len(each.ids) for each in members]
    return {
        "input_ids": torch.tensor([[*each.ids, *[0] * gap] for each, gap in zip(members, rest, strict=True)]),
        "labels": torch.tensor([[*each.labels, *[IGNORED] * gap] for each, gap in zip(members, rest, strict=True)]),
        "attention_mask": torch.tensor([[1] * len(e.ids) + [0] * gap for e, gap in zip(members, rest, strict=True)]),
    }


def packed_loss(model: nn.Module, batch: Batch) -> Tensor:
    """As our model runs a pack."""
    cu = batch["cu_seqlens"]
    longest = int((cu[1:] - cu[:-1]).max())
    lengths = {"cu_seq_lens_q": cu, "cu_seq_lens_k": cu, "max_length_q": longest, "max_length_k": longest}
    hidden = model.model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], **lengths).last_hidden_state
    return loss_over(hidden, batch["labels"], model.lm_head, None)[0]


def rates() -> tuple[Callable[[], float], Callable[[], float]]:
    """Ours and the peer's: tokens that are not padding, a second."""
    ours = packs()
    theirs = padded_batches(round(sum(len(each["cu_seqlens"]) - 1 for each in ours) / len(ours)))
    ours_model, peer_model = language_model(NAME), language_model("sdpa")

    def rate(model: nn.Module, batches: list[Batch], loss_of: Callable[[nn.Module, Batch], Tensor]) -> float:
        threads, useful = torch.get_num_threads(), sum(_useful(batch) for batch in batches)
        torch.set_num_threads(THREADS)
        started = time.perf_counter()
        for batch in batches:
            loss_of(model, batch).backward()
            model.zero_grad()
        seconds = time.perf_counter() - started
        torch.set_num_threads(threads)
        return useful / seconds

    return (
        lambda: rate(ours_model, ours, packed_loss),
        lambda: rate(peer_model, theirs, lambda model, batch: model(**batch).loss),
    )


def _useful(batch: Batch) -> int:
    return int(batch.get("attention_mask", torch.ones_like(batch["input_ids"])).sum())
