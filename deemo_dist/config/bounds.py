"""What a run's settings may be at least, and how a run may be called: said when it is loaded, not hours later."""

from functools import reduce
from typing import Any

from deemo_dist.errors import ConfigError

LEAST = {
    "model.frames": 1,
    "model.image_size": 1,
    "model.audio_windows": 1,
    "model.cue_keypoints": 1,
    "model.cue_frames": 1,
    "engine.ranks": 1,
    "engine.threads": 1,
    "engine.hpz": 1,
    "engine.watchdog_seconds": 0,
    "evaluation.bootstrap": 0,
    "evaluation.explanations": 0,
    "evaluation.max_new_tokens": 1,
    "evaluation.preview_clips": 0,
}
ABOVE_ZERO = ("model.audio_window", "model.cue_rate", "engine.timeout_seconds")


def check_bounds(config: Any, *, where: str) -> None:
    """Raise ``ConfigError`` for a number of a ``RunConfig`` below its least one, or a name that is no folder's."""
    for path, least in LEAST.items():
        if (value := _at(config, path)) < least:
            raise ConfigError(f"{where}: '{path}' is {value}", hint=f"{least} at least")
    for path in ABOVE_ZERO:
        if (value := _at(config, path)) <= 0:
            raise ConfigError(f"{where}: '{path}' is {value}", hint="more than 0")
    if not is_name(config.name):
        hint = "its results are kept in a folder of that name: no / or \\, no .., no blank at its ends"
        raise ConfigError(f"{where}: a run cannot have the name {config.name!r}", hint=hint)


def is_name(text: str) -> bool:
    """Whether a folder can be called so, wherever it is."""
    return text.isprintable() and text.strip() == text and text not in ("", ".", "..") and not set(text) & set("/\\")


def _at(config: Any, path: str) -> Any:
    return reduce(getattr, path.split("."), config)
