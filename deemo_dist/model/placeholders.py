"""Whether a batch has as many placeholders among its tokens as rows of projected media: told where it is made, on the
host. A GPU would have to be waited for to tell, and would take wrong rows without a word.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from deemo_dist.errors import ModelError
from deemo_dist.model.configuration import ProjectorShape
from deemo_dist.model.tokens import video_tokens


def refuse_mismatch(
    batch: Mapping[str, Any], placeholder_ids: Sequence[int], projectors: Mapping[str, ProjectorShape]
) -> None:
    """Raise ``ModelError`` where the placeholders of a medium (``placeholder_ids`` of video, audio and cues) are not as
    many as the rows that its projector makes of the batch's media, or that the batch's index takes of them. A medium
    without any is a null medium."""
    rows = _rows(batch, projectors)
    for (what, given), token in zip(rows.items(), placeholder_ids, strict=True):
        found = int((batch["input_ids"] == token).sum())
        taken = len(batch[f"{what}_index"]) if f"{what}_index" in batch else given
        if found and found != taken:
            raise ModelError(
                f"{found} {what} placeholders in the tokens of a batch, but {taken} {what} embeddings",
                hint="an example's text may hold no placeholder, its media must be those of its index row",
            )


def _rows(batch: Mapping[str, Any], projectors: Mapping[str, ProjectorShape]) -> dict[str, int]:
    """Rows of each projected medium, by the shapes of what goes in."""
    clips, frames = batch["pixel_values"].shape[:2]
    return {
        "video": clips * video_tokens(projectors["video"], frames),
        "audio": len(batch["input_features"]) * projectors["audio"].tokens,
        "cue": len(batch["cue_values"]) * projectors["cue"].tokens,
    }
