"""Who appears in the generated clips: looks, limbs, tempo and voice, drawn from the seed."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from deemo_dist.samples.words import FAMILY, GIVEN

Colour = tuple[float, float, float]
FACES, LOW_FACES = 7, 3


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A made-up person. Lengths in pixels of the 256 x 256 picture, colours RGB 0..255, ``pitch`` in Hz.

    ``face`` numbers the photograph, ``skin`` multiplies its colours; ``formants`` scales the vocal tract.
    """

    index: int
    name: str
    register: str
    build: str
    shoulders: float
    upper_arm: float
    forearm: float
    hand: float
    head: float
    girth: float
    tempo: float
    pitch: float
    formants: float
    breath: float
    face: int
    mirrored: bool
    skin: Colour
    shirt: Colour
    stripes: bool
    short_sleeves: bool
    background: Colour

    @property
    def subgroup(self) -> dict[str, str]:
        """The attributes to report by."""
        return {"register": self.register, "build": self.build}


def draw_subjects(count: int, seed: int) -> list[Subject]:
    """``count`` subjects with different names. The first ones are the same whatever the count."""
    names = np.random.default_rng([seed, 0]).permutation(len(GIVEN) * len(FAMILY))
    return [_draw(index, int(names[index % len(names)]), seed) for index in range(count)]


def elsewhere(subject: Subject, seed: Sequence[int]) -> Subject:
    """The same person in other clothes at another place."""
    rng = np.random.default_rng([*seed, 5])
    hue, dark = rng.uniform(0, 1), rng.uniform(0.25, 0.75)
    return replace(
        subject,
        shirt=_colour(hue, rng.uniform(0.25, 0.7), dark),
        stripes=bool(rng.random() < 0.3),
        short_sleeves=bool(rng.random() < 0.35),
        background=_background(hue, dark, rng),
    )


def _draw(index: int, name: int, seed: int) -> Subject:
    rng = np.random.default_rng([seed, 4, index])
    low, broad = bool(index % 2), bool((index // 2) % 2)
    shoulders = rng.uniform(91, 98) if broad else rng.uniform(84, 90)
    size = shoulders / 90 * rng.uniform(0.96, 1.04)
    hue, dark = rng.uniform(0, 1), rng.uniform(0.25, 0.75)
    tone = rng.uniform(0.62, 1.0)
    return Subject(
        index=index,
        name=_name(name, index // (len(GIVEN) * len(FAMILY))),
        register="low" if low else "high",
        build="broad" if broad else "slight",
        shoulders=shoulders,
        upper_arm=70 * size * rng.uniform(0.93, 1.07),
        forearm=57 * size * rng.uniform(0.93, 1.07),
        hand=29 * size * rng.uniform(0.94, 1.06),
        head=38 * rng.uniform(0.95, 1.05),
        girth=size * (rng.uniform(1.02, 1.12) if broad else rng.uniform(0.88, 0.98)),
        tempo=rng.uniform(0.88, 1.12),
        pitch=rng.uniform(95, 135) if low else rng.uniform(170, 230),
        formants=rng.uniform(0.88, 0.98) if low else rng.uniform(1.02, 1.14),
        breath=rng.uniform(0.02, 0.06),
        face=int(rng.integers(LOW_FACES) if low else rng.integers(LOW_FACES, FACES)),
        mirrored=bool(rng.integers(2)),
        skin=(tone, tone * rng.uniform(0.93, 1.0), tone * rng.uniform(0.86, 0.98)),
        shirt=_colour(hue, rng.uniform(0.25, 0.7), dark),
        stripes=bool(rng.random() < 0.3),
        short_sleeves=bool(rng.random() < 0.35),
        background=_background(hue, dark, rng),
    )


def _background(hue: float, dark: float, rng: np.random.Generator) -> Colour:
    """One that stands out from a shirt of this hue and value."""
    return _colour(hue + rng.uniform(0.3, 0.7), rng.uniform(0.1, 0.4), (dark + 0.45) % 0.7 + 0.25)


def _name(number: int, round_: int) -> str:
    """A person's name; once all are taken, a middle initial tells the next round from the first."""
    initial = f" {chr(64 + round_ % 27)}." if round_ else ""
    return f"{GIVEN[number % len(GIVEN)]}{initial} {FAMILY[number // len(GIVEN)]}"


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return 255 * red, 255 * green, 255 * blue
