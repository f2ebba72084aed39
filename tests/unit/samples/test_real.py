"""Boxes of the footage follow the clips that are cut out of it."""

from pathlib import Path

import numpy as np
import pytest

from deemo_dist.deid import geometry
from deemo_dist.deid.audit.coverage import boxes_by_key, read_boxes
from deemo_dist.samples.real import PAIRINGS, real_clips
from tests.truth import boxes_of_samples, truth

pytestmark = pytest.mark.slow


def test_boxes_of_the_cut_clips_lie_on_their_faces(tmp_path: Path) -> None:
    from deemo_dist.deid.audit.detectors import auditors
    from deemo_dist.media import decode_frames

    boxes = read_boxes(boxes_of_samples(), "boxes")
    assert set(boxes) == {f"{one.name}.mp4" for one in PAIRINGS if one.footage in truth()}
    detect = auditors()
    clips = {clip.uri: clip for clip in real_clips(tmp_path)}
    by_clip = boxes_by_key(boxes, clips, ())
    for clip in clips.values():
        known = by_clip.get(clip.uri, {})
        if not known:  # footage without a face
            continue
        some = sorted(known)[:: max(1, len(known) // 4)]
        film = (tmp_path / clip.uri.rsplit("/", 1)[-1]).read_bytes()
        for number, frame in zip(some, decode_frames(film, np.array(some)), strict=True):
            hits, _ = detect(frame)
            assert geometry.iou(known[number], hits).max(initial=0.0) > 0.4, f"{clip.uri}, frame {number}"
