"""The processor: examples and their media to padding-free packs, prompts for generation, and exact lengths beforehand.

Turns are taken as they are: whether the transcript is in the prompt is the task template's affair. Media tokens stand
ahead of the first user turn, one run each for video, audio and cues, of the modalities that the example shows and its
sample has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from deemo_dist.errors import ModelError
from deemo_dist.model.configuration import DeemoLlamaConfig, MediaShape, ProjectorShape
from deemo_dist.model.conversation import IGNORED, Sequence1D, placeholder_ids, stretches, to_sequence
from deemo_dist.model.features import audio_tensor, cue_tensor, frame_times, video_tensor
from deemo_dist.model.placeholders import refuse_mismatch
from deemo_dist.model.tokens import MediaCounts, count_media
from deemo_dist.model.vocabulary import AUDIO, CUES, VIDEO
from deemo_dist.records import Example, Length, LoadedExample, Turn

Batch = dict[str, Any]


class DeemoLlamaProcessor(ProcessorMixin):
    """Tokenizer and media settings in one. ``settings``: ``media`` and the three projectors, as the model's config
    has, and the language model's ``positions`` (None: it has no bound, or nobody said)."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        settings: Mapping[str, Any] | None = None,
        chat_template: str | None = None,
    ) -> None:
        super().__init__(tokenizer, chat_template=chat_template)
        self.settings = dict(settings or {})
        self.media = MediaShape.of(self.settings.get("media", {}))
        self.projectors = {
            part: ProjectorShape(**self.settings.get(f"{part}_projector", {})) for part in ("video", "audio", "cue")
        }
        self.positions: int | None = self.settings.get("positions")
        self.placeholder_ids = placeholder_ids(tokenizer)

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase, config: DeemoLlamaConfig) -> "DeemoLlamaProcessor":
        """The processor that fits a model's configuration."""
        names = ("media", "video_projector", "audio_projector", "cue_projector")
        positions = getattr(config.text_config, "max_position_embeddings", None)
        return cls(tokenizer, {**{name: getattr(config, name) for name in names}, "positions": positions})

    @property
    def model_input_names(self) -> list[str]:
        """What ``pack`` and ``prompt`` give."""
        return ["input_ids", "attention_mask", "pixel_values", "input_features", "cue_values"]

    def counts(self, example: Example) -> MediaCounts:
        """What the example shows, and the tokens its media become."""
        return count_media(example, self.media, *(self.projectors[part] for part in ("video", "audio", "cue")))

    def sequence(self, example: Example, *, answer: bool = True) -> Sequence1D:
        """Tokens and labels of one example; up to the prompt for its answer where ``answer`` is False."""
        counts = self.counts(example)
        tokens = (counts.video_tokens, counts.audio_tokens, counts.cue_tokens)
        shown = [token for token, number in zip((VIDEO, AUDIO, CUES), tokens, strict=True) if number]
        parts = stretches(example.turns, shown, self.tokenizer, answer=answer)
        return to_sequence(parts, dict(zip(self.placeholder_ids, tokens, strict=True)), self.tokenizer)

    def _bounded(self, example: Example, *, answer: bool = True) -> Sequence1D:
        """As ``sequence``, of an example that the language model has positions for."""
        sequence = self.sequence(example, answer=answer)
        if self.positions is not None and len(sequence.ids) > self.positions:
            raise ModelError(
                f"sample {example.key} is {len(sequence.ids)} tokens for task {example.task}, the language model has "
                f"{self.positions} positions",
                hint="shorten what the task shows: its prompt, its media, the tokens of each",
            )
        return sequence

    def length_of(self, example: Example) -> Length:
        """The exact cost of ``example``, of its index row and its text alone."""
        sequence, counts = self.sequence(example), self.counts(example)
        return Length(
            tokens=len(sequence.ids),
            targets=sequence.targets,
            frames=counts.clips * self.media.frames,
            audio_seconds=counts.windows * self.media.audio_window,
        )

    def pack(self, examples: Sequence[LoadedExample]) -> Batch:
        """One padding-free pack. Raises ``ModelError`` naming the key of an example whose media are not there, or that
        has more tokens than the language model has positions, and where placeholders and media do not match.

        ``input_ids labels position_ids`` int64 [1, T] (positions restart with each example), ``label_rows`` int64
        [targets], the positions that predict a label, ``cu_seqlens`` int32 [n + 1], ``max_seqlen`` int,
        ``pixel_values`` float32 [clips, frames, 3, H, W], ``frame_times`` [clips, frames] seconds, ``input_features``
        [windows, bins, Tm] or [windows, samples], ``audio_starts`` [windows] seconds, ``cue_values`` [clips, C, K, 3],
        ``cue_times`` [clips, C]. A medium that no example shows is one null medium.
        """
        if not examples:
            return self.null_pack()
        packed = _packed([self._bounded(item.example) for item in examples])
        return self._checked({**packed, **self.media_tensors(examples)})

    def null_pack(self) -> Batch:
        """A pack of one token without a label and of null media: every module is called, to no effect."""
        pad = self.tokenizer.pad_token_id
        return {**_packed([Sequence1D(ids=(pad or 0,), labels=(IGNORED,))]), **self.media_tensors([])}

    def prompt(self, examples: Sequence[LoadedExample]) -> Batch:
        """Left-padded prompts for ``generate``: ``input_ids`` and ``attention_mask`` int64 [B, T], and the media."""
        sequences = [self._bounded(item.example, answer=False).ids for item in examples]
        longest = max(len(ids) for ids in sequences)
        pad = self.tokenizer.pad_token_id
        rows = [[pad] * (longest - len(ids)) + list(ids) for ids in sequences]
        masks = [[0] * (longest - len(ids)) + [1] * len(ids) for ids in sequences]
        tokens = {"input_ids": torch.tensor(rows), "attention_mask": torch.tensor(masks)}
        return self._checked({**tokens, **self.media_tensors(examples)})

    def variants(self, examples: Sequence[LoadedExample], choices: Sequence[str]) -> Batch:
        """Every example with every choice as its answer, in one pack that holds each medium once (``*_index`` share
        it)."""
        sequences, order = [], []
        for number, item in enumerate(examples):
            for choice in choices:
                sequences.append(self._bounded(_answered(item.example, choice)))
                order.append(number)
        counts = [self.counts(item.example) for item in examples]
        shared = {
            "video_index": _shared([count.video_tokens for count in counts], order),
            "audio_index": _shared([count.audio_tokens for count in counts], order),
            "cue_index": _shared([count.cue_tokens for count in counts], order),
        }
        return self._checked({**_packed(sequences), **self.media_tensors(examples), **shared})

    def _checked(self, batch: Batch) -> Batch:
        refuse_mismatch(batch, self.placeholder_ids, self.projectors)
        return batch

    def media_tensors(self, examples: Sequence[LoadedExample]) -> Batch:
        """The media of ``examples`` in their order, a null medium where there is none."""
        clips, times, windows, starts, cues, cue_times = [], [], [], [], [], []
        for item in examples:
            counts, row, media = self.counts(item.example), item.example.sample, item.media
            if counts.clips:
                frames = _present(media.frames, "video", row.key)
                clips.append(video_tensor(frames, self.media))
                times.append(frame_times(media.frame_times, len(frames), row.fps, self.media))
            if counts.windows:
                features, begun = audio_tensor(_present(media.waveform, "audio", row.key), counts.windows, self.media)
                windows.append(features)
                starts.append(begun)
            if counts.cues:
                values, seconds = cue_tensor(
                    _present(media.cues, "cues", row.key), media.cue_times, row.fps, self.media
                )
                cues.append(values)
                cue_times.append(seconds)
        return {
            **self._null_media(),
            **({"pixel_values": torch.stack(clips), "frame_times": torch.stack(times)} if clips else {}),
            **({"input_features": torch.cat(windows), "audio_starts": torch.cat(starts)} if windows else {}),
            **({"cue_values": torch.stack(cues), "cue_times": torch.stack(cue_times)} if cues else {}),
        }

    def _null_media(self) -> Batch:
        """One black frame, one silent window, one clip of unseen keypoints."""
        media = self.media
        return {
            "pixel_values": torch.zeros(1, 1, 3, media.image_size, media.image_size),
            "frame_times": torch.zeros(1, 1),
            "input_features": torch.zeros(1, *media.null_audio_shape()),
            "audio_starts": torch.zeros(1),
            "cue_values": torch.zeros(1, media.cue_frames, media.cue_keypoints, 3),
            "cue_times": torch.zeros(1, media.cue_frames),
        }


def _packed(sequences: Sequence[Sequence1D]) -> Batch:
    """Sequences end to end."""
    lengths = [len(sequence.ids) for sequence in sequences]
    labels = torch.tensor([[label for sequence in sequences for label in sequence.labels]])
    return {
        "input_ids": torch.tensor([[token for sequence in sequences for token in sequence.ids]]),
        "labels": labels,
        "label_rows": torch.nonzero(labels[0, 1:] != IGNORED).flatten(),
        "position_ids": torch.cat([torch.arange(length) for length in lengths]).unsqueeze(0),
        "cu_seqlens": torch.tensor([0, *lengths]).cumsum(0).to(torch.int32),
        "max_seqlen": max(lengths),
    }


def _answered(example: Example, choice: str) -> Example:
    """``example`` with ``choice`` as the last, assistant's, turn."""
    turns = example.turns[:-1] if example.turns and example.turns[-1].role == "assistant" else example.turns
    return replace(example, turns=(*turns, Turn(role="assistant", text=choice)))


def _shared(tokens: Sequence[int], order: Sequence[int]) -> Tensor:
    """Rows of the projected media for sequences in which example ``order[i]`` shows its ``tokens[order[i]]`` rows."""
    ends = torch.tensor([0, *tokens]).cumsum(0)
    runs = [torch.arange(int(ends[number]), int(ends[number + 1])) for number in order]
    return torch.cat(runs) if runs else torch.zeros(0, dtype=torch.long)


def _present(value: Any, what: str, key: str) -> Any:
    if value is None or len(value) == 0:
        raise ModelError(
            f"sample {key} shows {what} by its index row, but the loader brought none",
            hint=f"load it, or take '{what}' out of the example's modalities",
        )
    return value
