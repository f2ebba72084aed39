"""Voices: how fast they are disguised beside a loop over frames, and who is still led back to the speaker.

The peer is the McAdams method as its authors publish it (Patino et al. 2021, arXiv 2011.01130, the VoicePrivacy
baseline B2): one frame after another in Python, written here from that description. Rates are seconds of sound a CPU
second on one thread. A table says, by kind of speech and method, the equal error rates of four attackers with their
intervals, how much of the melody is kept, and the word error rate of our Whisper; rates in brackets are of fewer
speakers than anything can be said of.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.linalg import solve_toeplitz
from scipy.signal import lfilter

from deemo_dist.deid.audit.speakers import SpeakerAttack, SpeakerFigures, Voice, speaker_attack
from deemo_dist.deid.audit.utility import sound_figures, word_errors, words
from deemo_dist.deid.audit.voices import VoiceReader
from deemo_dist.deid.text.asr import Listener
from deemo_dist.deid.voice.disguise import Method, drawn, shifter
from tests.bench.harness import Work
from tests.speech import RATE, Utterance, real, synthetic
from tests.voices import disguise

METHODS: tuple[Method, ...] = ("world", "mcadams", "sum", "prosody")
GOALS: dict[Method, float] = {"mcadams": 0.02, "world": 0.08}
SECONDS = 12
HEARD = 22  # utterances of one kind of speech that Whisper hears
PAUSE = RATE // 2
MELODY, SUM_EER, SUM_WER, HALF_WIDTH = 0.95, 0.25, 0.15, 0.15
PROMISES = (
    "world keeps the melody (f0 correlation)",
    "sum, grid-informed equal error rate",
    "sum, words heard (1 - added errors)",
    "prosody, grid-informed equal error rate at chance (1 - distance of .5 from the interval)",
    f"prosody, 1 - half the width of that interval (at most {HALF_WIDTH})",
)


def frame_by_frame(sound: np.ndarray, coefficient: float = 0.8, order: int = 20) -> np.ndarray:
    """The peer's loop: LPC, complex pole angles raised to the coefficient, refiltered, overlapped, peak restored."""
    length, hop = RATE // 50, RATE // 100
    window = np.hanning(length)
    made = np.zeros(len(sound))
    for start in range(hop, len(sound) - length, hop):  # the first frame is left as it was, as the peer does
        frame = sound[start : start + length] * window + 1e-9
        auto = np.correlate(frame, frame, "full")[length - 1 : length + order]
        error = np.append(1.0, solve_toeplitz(auto[:order] * np.append(1 + 1e-9, np.ones(order - 1)), -auto[1:]))
        poles = np.roots(error)
        turned = [
            abs(pole) * np.exp(1j * np.sign(pole.imag) * abs(np.angle(pole)) ** coefficient) if pole.imag else pole
            for pole in poles
        ]
        residual = lfilter(error, 1.0, frame)
        made[start : start + length] += lfilter(1.0, np.real(np.poly(turned)), residual) * window
    return made / max(float(np.abs(made).max()), 1e-9) * float(np.abs(sound).max())


def speed(work: Callable[[np.ndarray], object], sound: np.ndarray) -> Callable[[], float]:
    """Seconds of sound a CPU second."""

    def once() -> float:
        started = time.process_time()
        work(sound)
        return len(sound) / RATE / (time.process_time() - started)

    return once


def alone(method: Method) -> Callable[[np.ndarray], object]:
    """The method without the figures that go into an attestation."""
    return lambda sound: shifter(method, drawn(np.random.default_rng(7)), sound)(sound)


def whole(method: Method) -> Callable[[np.ndarray], object]:
    """All that preprocessing does to a voice: the method in pieces, loudness, and what is measured of it."""
    return lambda sound: disguise(sound.astype(np.float32), RATE, method=method, seed=7)


@dataclass(frozen=True)
class Row:
    """One kind of speech under one method."""

    speech: str
    attacks: SpeakerFigures
    melody: float | None
    wer: float
    wer_raw: float


def disguised(spoken: Sequence[Utterance], method: Method) -> list[np.ndarray]:
    """Each utterance under parameters of its own."""
    made = (disguise(each.sound, RATE, method=method, seed=1000 + number) for number, each in enumerate(spoken))
    return [item.waveform for item in made if item is not None]


def judge(speech: str, spoken: Sequence[Utterance], reader: VoiceReader, listener: Listener) -> list[Row]:
    """All methods on one kind of speech."""
    raw = [each.sound for each in spoken]
    said = [each.words for each in spoken]
    before = misheard(said, raw, listener)
    found = []
    for method in METHODS:
        made = disguised(spoken, method)
        voices = [
            Voice(f"{each.speaker}-{each.number}", each.speaker, each.sound, sound)
            for each, sound in zip(spoken, made, strict=True)
        ]
        melodies = [sound_figures(*pair).get("f0_correlation") for pair in zip(raw, made, strict=True)]
        kept = [value for value in melodies if value is not None]
        found.append(
            Row(
                speech=speech,
                attacks=speaker_attack(voices, method, reader, name=reader.name),
                melody=float(np.median(kept)) if kept else None,
                wer=misheard(said, made, listener),
                wer_raw=before,
            )
        )
    return found


def misheard(said: Sequence[str], sounds: Sequence[np.ndarray], listener: Listener) -> float:
    """Word error rate over an even choice of at most ``HEARD`` utterances, half a second of silence around each."""
    some = range(0, len(said), max(1, len(said) // HEARD))
    heard = {number: words(listener(np.pad(sounds[number], PAUSE), RATE).text) for number in some}
    count = sum(len(words(said[number])) for number in some)
    return sum(word_errors(words(said[number]), heard[number]) for number in some) / max(1, count)


def show(rows: Sequence[Row]) -> None:
    """The table of rates."""
    table = Table(title="bench voice: equal error rates (.5 is guessing) with 95 % intervals by speaker")
    for column in (
        "speech",
        "method",
        "speakers",
        "utterances",
        "raw",
        "ignorant",
        "lazy",
        "grid",
        "f0",
        "WER",
        "raw WER",
    ):
        table.add_column(column, justify="left" if column in ("speech", "method") else "right")
    for row in rows:
        rates = [said(item, estimable=row.attacks.estimable) for item in row.attacks.attacks]
        melody = "-" if row.melody is None else f"{row.melody:.3f}"
        people = (row.attacks.method, str(row.attacks.speakers), str(row.attacks.utterances))
        table.add_row(row.speech, *people, *rates, melody, f"{row.wer:.3f}", f"{row.wer_raw:.3f}")
    Console(width=170).print(table)


def said(attack: SpeakerAttack, *, estimable: bool) -> str:
    text = f"{attack.eer.value:.3f} [{attack.eer.low:.2f}, {attack.eer.high:.2f}]"
    return text if estimable else f"({text})"


@contextmanager
def works() -> Iterator[list[Work]]:
    """The comparisons; who is led back is measured once, the rounds repeat the figures."""
    reader, listener = VoiceReader(), Listener()
    kinds = {"real": real(), "synthetic": synthetic()}
    rows = [row for name, spoken in kinds.items() if spoken for row in judge(name, spoken, reader, listener)]
    show(rows)
    some = np.concatenate([each.sound for each in kinds["real"] or kinds["synthetic"]])[: SECONDS * RATE].astype(
        np.float64
    )
    loop = speed(frame_by_frame, some)
    yield [
        *(_fast(f"{name}, the method alone", alone(name), some, GOALS[name]) for name in GOALS),
        *(_fast(f"{name}, with its figures", whole(name), some, GOALS[name]) for name in GOALS),
        Work(work="mcadams, the method alone", peer="loop over frames", unit="s/s", goal=1.0,
             ours=speed(alone("mcadams"), some), theirs=loop),
        Work(work="world, the method alone", peer="loop over frames", unit="s/s", goal=0.0,
             ours=speed(alone("world"), some), theirs=loop),
        *aims([name for name, spoken in kinds.items() if spoken], rows),
    ]  # fmt: skip


def _fast(name: str, work: Callable[[np.ndarray], object], sound: np.ndarray, goal: float) -> Work:
    return Work(
        work=name,
        peer=f"real-time factor {goal}",
        unit="s/s",
        goal=1.0,
        ours=speed(work, sound),
        theirs=lambda: 1 / goal,
    )


def aims(kinds: Sequence[str], rows: Sequence[Row]) -> list[Work]:
    """What is promised of methods, by kind of speech with enough speakers to say so; where none has, rows that fail."""
    judged = [kind for kind in kinds if all(row.attacks.estimable for row in rows if row.speech == kind)]
    if not judged:
        return [_figure(f"not estimable, too few speakers: {name}", 0.0, 1.0) for name in PROMISES]
    return [work for kind in judged for work in _judged(kind, {r.attacks.method: r for r in rows if r.speech == kind})]


def _judged(kind: str, by_method: Mapping[str, Row]) -> list[Work]:
    """The promises over one kind of speech. Prosody is at chance if the interval holds .5 and is narrow enough to tell:
    any interval holds it that is wide."""
    world, both, melody_alone = (by_method[name] for name in ("world", "sum", "prosody"))
    grid, chance = both.attacks.attacks[-1].eer, melody_alone.attacks.attacks[-1].eer
    apart, width = max(0.0, chance.low - 0.5, 0.5 - chance.high), (chance.high - chance.low) / 2
    at_chance = f"{PROMISES[3]}: [{chance.low:.2f}, {chance.high:.2f}]"
    values = (
        (PROMISES[0], world.melody or 0.0, MELODY),
        (PROMISES[1], grid.value, SUM_EER),
        (PROMISES[2], 1 - (both.wer - both.wer_raw), 1 - SUM_WER),
        (at_chance, 1 - apart, 1.0),
        (f"{PROMISES[4]}, here {width:.2f}", 1 - width, 1 - HALF_WIDTH),
    )
    return [_figure(f"{kind}: {name}", ours, aim) for name, ours, aim in values]


def _figure(work: str, ours: float, aim: float) -> Work:
    return Work(work=work, peer="the aim", unit="%", goal=1.0, ours=lambda: 100 * ours, theirs=lambda: 100 * aim)
