"""Sounds of audited clips, raw and released: no more is kept of them than those who compare them listen to."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from deemo_dist.console import progress
from deemo_dist.deid.audit import utility
from deemo_dist.deid.audit.speakers import LONGEST, SpeakerFigures, Voice, chosen_voices, speaker_attack
from deemo_dist.deid.audit.voices import VoiceReader
from deemo_dist.deid.voice.disguise import GRID
from deemo_dist.records import IndexRow

RATE = utility.RATE
WHOLE_CLIPS = 20


@dataclass(frozen=True)
class Heard:
    """The sound of a clip before and after, float32 [N] at 16 kHz."""

    raw: np.ndarray = field(repr=False)
    released: np.ndarray = field(repr=False)

    def beginning(self) -> "Heard":
        """As much as attackers on voices listen to, copied: a view would keep the rest in memory."""
        return Heard(raw=self.raw[:LONGEST].copy(), released=self.released[:LONGEST].copy())


@dataclass(frozen=True)
class Sounds:
    """Sounds by key: ``whole`` ones of the clips with the first ``WHOLE_CLIPS`` keys, whose words are compared;
    ``begun`` ones, for attacks on voices, of the others."""

    whole: dict[str, Heard] = field(default_factory=dict)
    begun: dict[str, Heard] = field(default_factory=dict)

    def keep(self, key: str, heard: Heard) -> None:
        """Take one clip's in."""
        self.whole[key] = heard
        if len(self.whole) > WHOLE_CLIPS:
            last = max(self.whole)
            self.begun[last] = self.whole.pop(last).beginning()

    def voices(self) -> dict[str, Heard]:
        """Of every clip the beginning at least."""
        return {**self.begun, **self.whole}


def word_errors(sounds: Mapping[str, Heard], ear: Callable[[np.ndarray, int], str]) -> tuple[float | None, int]:
    """Word error rate of released against raw sound as the same ear hears both, and the words compared."""
    errors = count = 0
    for heard in sounds.values():
        before = utility.words(ear(heard.raw, RATE))
        if before:
            errors += utility.word_errors(before, utility.words(ear(heard.released, RATE)))
            count += len(before)
    return (errors / count if count else None), count


def attack_speakers(rows: Sequence[IndexRow], sounds: Mapping[str, Heard]) -> tuple[SpeakerFigures, ...]:
    """Whose the voices are, told by attackers who know the method; once for each method that the clips were given."""
    by_method: dict[str, list[Voice]] = defaultdict(list)
    for row in rows:
        if row.key in sounds and row.attestation.voice in GRID:
            heard = sounds[row.key]
            by_method[row.attestation.voice].append(Voice(row.key, row.subject_key, heard.raw, heard.released))
    if not by_method:
        return ()
    reader, found = VoiceReader(), []
    for method, voices in sorted(by_method.items()):
        taken = chosen_voices(voices)
        with progress("audit of voices", len(taken), unit="clips") as bar:
            found.append(speaker_attack(taken, method, reader, name=reader.name, tick=partial(bar.advance, 1)))  # type: ignore[arg-type]
    return tuple(found)
