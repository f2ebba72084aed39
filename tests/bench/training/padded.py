"""Useful tokens a second through a language model: packs by our attention, and padded batches of sorted lengths.

The peer is how transformers' Trainer does it with ``group_by_length``: its own sampler, right-padded batches, sdpa
with a mask, the model's own loss. Both show the sample data's training examples, in batches of as many, to a model of
SmolLM2's size; both know an example's length as the index has it. The sample data's stage asks two tasks and leaves
modalities out at random, which neither can know beforehand; the other data are those of the run ``smollm2``, whose
lengths are nearly the same.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.trainer_pt_utils import LengthGroupedSampler

from deemo_dist.config import StageConfig, TaskConfig, load
from deemo_dist.dataset import Budget, drop_modalities
from deemo_dist.dataset.instructions import MODALITIES, make_example
from deemo_dist.dataset.packing import pack
from deemo_dist.model import build_config, build_processor
from deemo_dist.model.attention import NAME
from deemo_dist.model.conversation import IGNORED, Sequence1D
from deemo_dist.model.loss import loss_over
from deemo_dist.records import Annotation, Example
from deemo_dist.samples import plan_clips
from deemo_dist.samples.words import reasoning
from tests import parts

RUN, STAGE, SAMPLE_RUN, THREADS, BATCHES = "smollm2", "instruct", "demo", 2, 3
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Shown:
    """A stage's training examples, their tokens as planned, and how a batch of them is shown."""

    examples: tuple[Example, ...]
    lengths: tuple[int, ...]
    sequence: Callable[[Example], Sequence1D]
    dropout: float
    seed: int

    @classmethod
    def of(cls, run: str) -> "Shown":
        """Of a run over the sample data, by the processor of ``RUN``."""
        config, stage = load(run), load(run).stages[STAGE]
        sequence = build_processor(load(RUN).model).sequence
        examples = _examples(config.seed, stage, load(RUN).tasks)
        lengths = tuple([len(sequence(example).ids) for example in examples])
        return cls(examples, lengths, sequence, stage.modality_dropout, config.seed)

    def batch(self, numbers: Sequence[int], place: int) -> list[Sequence1D]:
        """The sequences of some examples, as shown in batch ``place``."""
        chosen = [self.examples[number] for number in numbers]
        dropped = drop_modalities(chosen, self.dropout, seed=self.seed, step=0, pack=place)
        return [self.sequence(example) for example in dropped]


def _examples(seed: int, stage: StageConfig, tasks: Mapping[str, TaskConfig]) -> tuple[Example, ...]:
    """What a stage shows of the generated clips."""
    made = []
    for number, plan in enumerate(plan_clips(75, 8, seed)):
        row = parts.row(key=f"{number:032x}", characters=len(plan.transcript))
        said = Annotation(
            key=row.key,
            labels={"emotion": plan.emotion},
            texts={"reasoning": reasoning(plan.gesture, plan.prosody, plan.emotion)},
            nfbl=(),
            transcript=plan.transcript,
        )
        made += [make_example(row, said, name, tasks[name], MODALITIES) for name in stage.tasks]
    return tuple(made)


def language_model(attention: str) -> nn.Module:
    """The run's language model, of random weights."""
    described = build_config(load(RUN).model).text_config
    torch.manual_seed(1)
    return AutoModelForCausalLM.from_config(described, attn_implementation=attention).train()


def packs(shown: Shown) -> list[Batch]:
    """The first packs under the run's budget of tokens."""
    costs = torch.tensor([[length, 0, 0] for length in shown.lengths]).numpy()
    groups = pack(costs, Budget(tokens=load(RUN).stages[STAGE].max_tokens, frames=10**6, audio_seconds=1e6))
    return [packed(shown.batch(group.tolist(), place)) for place, group in enumerate(list(groups)[:BATCHES])]


def packed(members: Sequence[Sequence1D]) -> Batch:
    """Sequences end to end."""
    lengths = torch.tensor([len(each.ids) for each in members])
    return {
        "input_ids": torch.tensor([[token for each in members for token in each.ids]]),
        "labels": torch.tensor([[label for each in members for label in each.labels]]),
        "position_ids": torch.cat([torch.arange(int(length)) for length in lengths]).unsqueeze(0),
        "cu_seqlens": torch.cat([torch.zeros(1), lengths.cumsum(0)]).to(torch.int32),
    }


def padded_batches(shown: Shown, size: int) -> list[Batch]:
    """Batches of ``size`` examples, alike in length by the peer's own sampler."""
    order = list(LengthGroupedSampler(size, lengths=shown.lengths, generator=torch.Generator().manual_seed(1)))
    groups = [order[start : start + size] for start in range(0, len(order), size)]
    chosen = torch.linspace(0, len(groups) - 2, BATCHES + 2)[1:-1].long().tolist()
    return [padded(shown.batch(groups[number], place)) for place, number in enumerate(chosen)]


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
    return loss_over(batch["labels"], lambda rows, _: model.lm_head(hidden[0, rows]), None)[0]


def rates(run: str) -> tuple[Callable[[], float], Callable[[], float]]:
    """Ours and the peer's on a run's examples: tokens that are not padding, a second."""
    shown = Shown.of(run)
    ours = packs(shown)
    theirs = padded_batches(shown, round(sum(len(each["cu_seqlens"]) - 1 for each in ours) / len(ours)))
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
