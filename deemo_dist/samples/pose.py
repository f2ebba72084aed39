"""Where the joints are at each moment of a gesture."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deemo_dist.samples.people import Subject

SIZE = 256
CENTRE = SIZE / 2
SHOULDER_Y = 122.0
Point = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One arm at one moment, in pixels: joints, the hand's direction (radians), its shape and how far it is shaped."""

    shoulder: Point
    elbow: Point
    wrist: Point
    angle: float
    shape: str
    side: int


@dataclass(frozen=True, kw_only=True)
class Stance:
    """The body at one moment: shift of torso and head (pixels), the head's tilt (degrees), both arms back to front."""

    torso: Point
    head: Point
    tilt: float
    arms: tuple[Arm, Arm]


@dataclass(frozen=True, kw_only=True)
class Motion:
    """One clip's timing and liveliness. ``side`` is +1 or -1: which arm acts where one does."""

    gesture: str
    start: float
    end: float
    rate: float
    phase: float
    side: int
    sway: float
    reach: float


def draw_motion(gesture: str, subject: Subject, seconds: float, rng: np.random.Generator) -> Motion:
    """Draw when and how a gesture is made; resting poses last the whole clip."""
    resting = gesture in ("idle", "lap")
    return Motion(
        gesture=gesture,
        start=0.0 if resting else float(rng.uniform(0.1, 0.35)),
        end=seconds if resting else float(seconds - rng.uniform(0.1, 0.35)),
        rate=float(rng.uniform(1.0, 1.6) * subject.tempo),
        phase=float(rng.uniform(0, 2 * np.pi)),
        side=1 if rng.integers(2) else -1,
        sway=float(rng.uniform(0.8, 2.0)),
        reach=float(rng.uniform(0.92, 1.08)),
    )


def stance(subject: Subject, motion: Motion, time: float) -> Stance:
    """The body at ``time`` seconds."""
    wave = np.sin(2 * np.pi * 0.35 * time + motion.phase)
    torso = np.array([motion.sway * wave, 0.7 * np.sin(2 * np.pi * 0.3 * time)])
    head = torso + np.array([0.8 * np.sin(2 * np.pi * 0.5 * time + 2 * motion.phase), 0.6 * wave])
    grown = _grown(motion, time)
    sides = (-motion.side, motion.side)
    arms = (_arm(subject, motion, sides[0], torso, time, grown), _arm(subject, motion, sides[1], torso, time, grown))
    return Stance(torso=torso, head=head, tilt=float(2.0 * wave), arms=arms)


def _grown(motion: Motion, time: float) -> float:
    """0 at rest, 1 in the gesture, smooth in between (0.3 s each way)."""
    rise = np.clip((time - motion.start) / 0.3, 0, 1)
    fall = np.clip((motion.end - time) / 0.3, 0, 1)
    share = min(rise, fall) if motion.gesture not in ("idle", "lap") else 1.0
    return float(share * share * (3 - 2 * share))


Target = Callable[[Subject, float, int, bool], tuple[float, float, float, str]]


def _idle(subject: Subject, beat: float, side: int, acts: bool) -> tuple[float, float, float, str]:
    """Arms hanging: wrist at the hip, hand downward. All targets: x outward from the centre, y from the shoulders."""
    return subject.shoulders * 0.62 + 1.5 * beat, subject.upper_arm + subject.forearm * 0.86, 88.0, "relaxed"


def _lap(subject: Subject, beat: float, side: int, acts: bool) -> tuple[float, float, float, str]:
    return 20.0, 108.0 + (4 if acts else 0) + beat, 168.0, "relaxed"


def _open(subject: Subject, beat: float, side: int, acts: bool) -> tuple[float, float, float, str]:
    out = subject.shoulders * 0.5 + 33 + 8 * beat
    return min(out, 92), 30.0 - 6 * beat, -58.0 + 8 * beat, "open"


def _fist(subject: Subject, beat: float, side: int, acts: bool) -> tuple[float, float, float, str]:
    if not acts:
        return _idle(subject, 0.0, side, acts)
    return subject.shoulders * 0.5 + 18, -22.0 + 10 * beat, -94.0 + 5 * beat, "fist"


def _neck(subject: Subject, beat: float, side: int, acts: bool) -> tuple[float, float, float, str]:
    if not acts:
        return _idle(subject, 0.0, side, acts)
    return 33.0, 14.0 + 2.5 * beat, -142.0 + 3 * beat, "relaxed"


def _fold(subject: Subject, beat: float, side: int, acts: bool) -> tuple[float, float, float, str]:
    return -17.0 + beat, 56.0 + (6 if acts else 14) + 0.8 * beat, 190.0 if acts else 198.0, "relaxed"


# Arms raised towards the camera look shorter.
FORESHORTENED = {"fist": 0.72, "neck": 0.86}
TARGETS: dict[str, Target] = {
    "idle": _idle,
    "lap": _lap,
    "open": _open,
    "fist": _fist,
    "neck": _neck,
    "fold": _fold,
}


def _arm(subject: Subject, motion: Motion, side: int, torso: Point, time: float, grown: float) -> Arm:
    """One arm between its rest and its gesture."""
    acts = side == motion.side
    beat = float(np.sin(2 * np.pi * motion.rate * time + motion.phase + (0.4 if acts else 0)))
    rest = _idle(subject, 0.3 * beat, side, acts)
    goal = TARGETS[motion.gesture](subject, beat, side, acts)
    x, y, angle = (low + (high - low) * grown for low, high in zip(rest[:3], goal[:3], strict=True))
    shoulder = np.array([CENTRE + side * subject.shoulders / 2, SHOULDER_Y + 4]) + torso
    wrist = np.array([CENTRE + side * x * (motion.reach if x > 0 else 1), SHOULDER_Y + y]) + torso
    short = 1 + (FORESHORTENED.get(motion.gesture, 1.0) - 1) * grown if acts else 1.0
    elbow, wrist = _bend(shoulder, wrist, subject.upper_arm * short, subject.forearm * short, side)
    turned = np.deg2rad(angle if side > 0 else 180 - angle)
    return Arm(
        shoulder=shoulder,
        elbow=elbow,
        wrist=wrist,
        angle=float(turned),
        shape=goal[3] if grown > 0.5 else "relaxed",
        side=side,
    )


def _bend(shoulder: Point, wrist: Point, upper: float, fore: float, side: int) -> tuple[Point, Point]:
    """The elbow of a two-link arm (outward and downward), and the wrist as far as the arm can reach."""
    reach = wrist - shoulder
    length = float(np.hypot(*reach))
    span = float(np.clip(length, abs(upper - fore) + 2.0, upper + fore - 0.5))
    along = reach / max(length, 1e-6)
    wrist = shoulder + along * span
    part = (upper**2 - fore**2 + span**2) / (2 * span)
    height = np.sqrt(max(upper**2 - part**2, 0.0))
    across = np.array([-along[1], along[0]])
    candidates = (shoulder + along * part + across * height, shoulder + along * part - across * height)
    elbow = max(candidates, key=lambda point: float(point[1] + 0.6 * side * point[0]))
    return elbow, wrist
