"""What a run's settings may be at least, and how a run may be called: said when it is loaded, not hours later."""

from collections.abc import Iterator

from deemo_dist.config.schema import RunConfig
from deemo_dist.errors import ConfigError

LEAST = {
    "model": {"frames": 1, "image_size": 1, "audio_windows": 1, "cue_keypoints": 1, "cue_frames": 1},
    "engine": {"ranks": 1, "threads": 1, "watchdog_seconds": 0},
    "evaluation": {"bootstrap": 0, "explanations": 0, "max_new_tokens": 1, "preview_clips": 0},
}
OF_A_STAGE = {"validate_every": 0, "early_stop": 0}
ABOVE_ZERO = (("model", "audio_window"), ("model", "cue_rate"), ("engine", "timeout_seconds"))


def check_bounds(config: RunConfig, *, where: str) -> None:
    """Raise ``ConfigError`` for a number below its least one, or a name that is no folder's."""
    for path, value, least in _bounded(config):
        if value < least:
            raise ConfigError(f"{where}: '{path}' is {value}", hint=f"{least} at least")
    for part, name in ABOVE_ZERO:
        if (value := getattr(getattr(config, part), name)) <= 0:
            raise ConfigError(f"{where}: '{part}.{name}' is {value}", hint="more than 0")
    if not is_name(config.name):
        hint = "its results are kept in a folder of that name: no / or \\, no .., no blank at its ends"
        raise ConfigError(f"{where}: a run cannot have the name {config.name!r}", hint=hint)


def is_name(text: str) -> bool:
    """Whether a folder can be called so, wherever it is."""
    return text.isprintable() and text.strip() == text and text not in ("", ".", "..") and not set(text) & set("/\\")


def _bounded(config: RunConfig) -> Iterator[tuple[str, float, int]]:
    """Key, value and least value of every number that has one; a stage that is validated needs packs for it."""
    for part, bounds in LEAST.items():
        yield from ((f"{part}.{name}", getattr(getattr(config, part), name), least) for name, least in bounds.items())
    for stage, settings in config.stages.items():
        bounds = OF_A_STAGE | {"validation_packs": int(settings.validate_every > 0)}
        yield from ((f"stages.{stage}.{name}", getattr(settings, name), least) for name, least in bounds.items())
