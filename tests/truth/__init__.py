"""Hand-checked face boxes of the packaged footage, and the same for the clips that the samples cut out of it."""

from pathlib import Path

from deemo_dist.deid.audit.coverage import COLUMNS, Boxes, read_boxes

FACES = Path(__file__).with_name("faces.csv")


def truth() -> Boxes:
    """Boxes by footage and the frames' numbers there."""
    return read_boxes(FACES.read_text(), FACES.name)


def boxes_of_samples() -> str:
    """A boxes file for ``deemo audit --boxes`` of the clips that ``deemo samples --real`` makes."""
    from deemo_dist.samples.real import source_frames

    known, lines = truth(), [",".join(COLUMNS)]
    for clip, (footage, frames) in source_frames().items():
        for number, frame in enumerate(frames.tolist()):
            for box in known.get(footage, {}).get(frame, ()):
                lines.append(",".join([f"{clip}.mp4", str(number), *(f"{side:.1f}" for side in box)]))
    return "\n".join(lines) + "\n"
