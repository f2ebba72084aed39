"""By which mean and deviation a vision tower wants its pixels: what it was trained with, as stored beside it."""

from typing import Any

from transformers import BaseImageProcessor

from deemo_dist.config import ModelConfig
from deemo_dist.errors import ModelError
from deemo_dist.model.sources import RANDOM, loaded, resolved

Channels = tuple[float, ...]
PLAIN: Channels = (0.5, 0.5, 0.5)


def pixel_scale(config: ModelConfig) -> tuple[Channels, Channels]:
    """Mean and deviation of each channel, of pixels from 0 to 1: the configuration's own, else those of a stored
    tower's ``preprocessor_config.json``, else 0.5. Raises ``ModelError`` where a stored tower does not say."""
    if config.image_mean or config.image_std:
        return _checked(config.image_mean, config.image_std, "model.image_mean and model.image_std")
    if config.vision.source == RANDOM or config.image_normalise != "fixed":
        return PLAIN, PLAIN
    stored = _stored(config.vision.source)
    if not stored.get("do_normalize", True):
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    mean, std = (stored.get(name) or () for name in ("image_mean", "image_std"))
    return _checked(mean, std, f"image_mean and image_std of '{config.vision.source}'")


def _stored(source: str) -> dict[str, Any]:
    path = resolved(source)
    try:
        found: dict[str, Any] = loaded(lambda: BaseImageProcessor.get_image_processor_dict(path)[0], source)
    except ModelError as error:
        raise ModelError(
            f"'{source}' does not say how its pixels were normalised: no preprocessor_config.json can be read",
            hint="put it beside the weights, or set model.image_mean and model.image_std",
        ) from error
    return found


def _checked(mean: Any, std: Any, what: str) -> tuple[Channels, Channels]:
    found = tuple(float(value) for value in mean), tuple(float(value) for value in std)
    if any(len(values) != len(PLAIN) for values in found) or min(found[1]) <= 0:
        raise ModelError(f"{what} are to be three numbers each, deviations above 0", hint="one for each of R, G and B")
    return found
