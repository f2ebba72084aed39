from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from deemo_dist.config import GatesConfig, PolicyConfig
from deemo_dist.deid.audit.faces import FaceAudit
from deemo_dist.deid.deidentifier import with_face
from deemo_dist.deid.findings import Voice
from deemo_dist.deid.gates import check_audit, check_heads, check_picture, check_sync
from deemo_dist.deid.meter import STAGES, Meter
from deemo_dist.errors import DeidError
from deemo_dist.media import VideoInfo


def info(frames: int = 50, fps: Fraction = Fraction(25), **changes: object) -> VideoInfo:
    values = {"width": 64, "height": 48, "seconds": float(frames / fps), "has_audio": False, "audio_seconds": 0.0}
    return VideoInfo(
        **{"frames": frames, "fps": fps, "sample_rate": 0, "rotation": 0, "codec": "", **values, **changes}
    )


def audit(**changes: object) -> FaceAudit:
    values = {"frames": 10, "residual_rate": 0.0, "inside": 0.0, "sensitivity": 1.0, "unsure": 0.0}
    return FaceAudit(**{"pixel_correlation": 0.0, **values, **changes})  # type: ignore[arg-type]


def refused(check: object, *arguments: object) -> tuple[str, str]:
    with pytest.raises(DeidError) as caught:
        check(*arguments)  # type: ignore[operator]
    return caught.value.stage, caught.value.reason


def test_the_audit_gates() -> None:
    check_audit(audit(), GatesConfig())
    check_audit(audit(pixel_correlation=0.9), GatesConfig(pixel_correlation=None))
    check_audit(audit(pixel_correlation=None), GatesConfig())
    assert refused(check_audit, audit(residual_rate=0.1), GatesConfig()) == ("audit", "residual_face")
    check_audit(audit(unsure=0.9), GatesConfig())
    check_audit(audit(unsure=0.05), GatesConfig(unsure_faces=0.05))
    assert refused(check_audit, audit(unsure=0.06), GatesConfig(unsure_faces=0.05)) == ("audit", "unsure_face")
    assert refused(check_audit, audit(pixel_correlation=0.2), GatesConfig()) == ("audit", "pixel_correlation")


@pytest.mark.parametrize(("mode", "most"), [("head", 2), ("frame", 2), ("reject", 0)])
def test_what_an_uncertain_head_leads_to(mode: str, most: int) -> None:
    policy = PolicyConfig(uncertain=mode, gates=GatesConfig(uncertain=0.25))  # type: ignore[arg-type]
    check_heads(most, 8, policy)
    assert refused(check_heads, most + 1, 8, policy) == ("faces", "uncertain")
    if mode == "reject":
        with pytest.raises(DeidError, match="somebody"):
            check_heads(0, 8, policy, others=1)
    else:
        check_heads(0, 8, policy, others=8)


def test_a_picture_must_be_large_enough_to_find_anybody_in() -> None:
    check_picture(info(width=16, height=16))
    assert refused(check_picture, info(width=200, height=15)) == ("faces", "too_small")


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(24000, 1001), Fraction(60), Fraction(1)])
def test_what_is_written_must_last_as_long_as_what_was_read(rate: Fraction) -> None:
    times = np.arange(50) / float(rate)
    raw, sound = replace(info(fps=rate), sound_end=2.0 + 0.01, sound_step=0.01), Voice(b"", 32000, {})
    most = min(0.02, 0.5 / float(rate))
    good = info(fps=rate, seconds=50 / float(rate) + 0.9 * most)
    assert check_sync(raw, times, good, sound)["sync_sound_ms"] == 0.0
    nearly = replace(raw, sound_end=2.01 + 0.9 * most)
    figures = check_sync(nearly, times, good, sound)
    assert figures["sync_picture_ms"] == pytest.approx(900 * most)
    assert figures["sync_sound_ms"] == pytest.approx(900 * most)
    late, cut = info(fps=rate, seconds=50 / float(rate) + 1.1 * most), Voice(b"", 16000, {})
    gone = replace(raw, sound_end=2.01 + 1.1 * most)
    for first, shown, heard in (
        (raw, late, sound), (gone, good, sound), (raw, good, cut), (raw, info(49, rate), sound),
        (raw, info(fps=rate * 2), sound),
    ):  # fmt: skip
        assert refused(check_sync, first, times, shown, heard) == ("encode", "out_of_sync")
    assert "sync_sound_ms" not in check_sync(info(fps=rate), times, good, sound)


def test_an_hour_at_a_rate_that_is_no_simple_fraction_is_in_sync() -> None:
    rate, frames = 29.9998, 108_000
    times = np.arange(frames) / rate
    fps = Fraction(30)
    whole = info(frames, fps, seconds=float(times[-1]) + float(1 / fps))
    assert check_sync(whole, times, whole, None)["sync_rate_frames"] < 0.01


def test_frames_between_two_sightings_show_the_face() -> None:
    assert with_face({0, 3, 9, 12}, 3) == {0, 1, 2, 3, 9, 10, 11, 12}
    assert with_face(set(), 3) == set()


def test_the_meter_counts_by_stage_and_hides_what_went_wrong() -> None:
    meter = Meter()

    def broken() -> None:
        raise ValueError("file:///raw/anna_keller_01.mp4")

    assert list(meter.each("decode", iter([1, 2]))) == [1, 2]
    meter.count("decode", cpu_seconds=1.5, bytes=7)
    with pytest.raises(DeidError) as caught:
        meter.run("voice", broken)
    assert (caught.value.stage, caught.value.reason) == ("voice", "failed")
    assert "anna" not in str(caught.value)
    figures = meter.figures()
    assert set(figures) == {f"{kind}.{stage}" for kind in ("seconds", "cpu_seconds", "bytes") for stage in STAGES}
    assert figures["cpu_seconds.decode"] >= 1.5
    assert figures["bytes.decode"] == 7
    assert figures["seconds.voice"] > 0
