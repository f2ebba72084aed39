"""A made-up evaluation with known truth, and the data of a whole report."""

import io

import numpy as np
import pytest

from deemo_dist.evaluation import (
    Explanation,
    Film,
    Picture,
    ReportData,
    StageCurve,
    deid_figures,
    evaluate,
)
from deemo_dist.records import Attestation, Example, IndexRow, LedgerRow, LoadedExample, Media, Turn
from tests import parts

CHOICES = ("negative", "positive")


def attestation(**rest) -> Attestation:
    values = {
        "frames": 24,
        "frames_with_face": 22,
        "masked_area": 0.12,
        "pii_entities": 2,
        "audited_frames": 8,
        "figures": {},
    }
    return parts.attestation(**{**values, **rest})


def row(number: int, **rest) -> IndexRow:
    values = {
        "key": f"{number:032x}",
        "subject_key": f"s{number // 8:02d}",
        "source": "synthetic",
        "split": "test",
        "subgroup": {"age": ("young", "old")[number // 8 % 2], "register": ("low", "high")[number // 16 % 2]},
        "attestation": attestation(residual_face_rate=0.125 if number == 3 else 0.0),
    }
    return parts.row(**{**values, **rest})


def loaded(number: int, **rest) -> LoadedExample:
    example = Example(
        key=f"{number:032x}",
        task="emotion",
        turns=(Turn(role="user", text="?"),),
        sample=row(number),
        modalities=("video", "audio", "cues", "text"),
        answer=CHOICES[number % 2],
    )
    media = Media(
        frames=np.zeros((2, 4, 4, 3), np.uint8), waveform=np.zeros(16, np.float32), cues=np.zeros((2, 5, 3), np.float16)
    )
    return LoadedExample(example=example, media=media, **rest)


def score(batch, choices):
    """Right with a share that grows with the modalities shown; the same for the same sample."""
    found = np.zeros((len(batch), len(choices)))
    for place, item in enumerate(batch):
        number = int(item.example.key, 16)
        kept = item.example.modalities
        skill = 0.5 + 0.24 * ("video" in kept) + 0.2 * ("audio" in kept) + 0.02 * ("cues" in kept)
        right = np.random.default_rng(number * 31 + sum(map(len, kept))).random() < skill
        found[place, (number % 2) if right else 1 - number % 2] = 1.0
    return found


def generate(batch):
    """Sometimes right, sometimes of no use."""
    words = ("positive", "Negative.", "It is a gesture", "positive or negative")
    return [words[int(item.example.key, 16) % 7 % 4] for item in batch]


@pytest.fixture(scope="session")
def evaluation():
    """200 clips of 25 subjects."""
    batches = [[loaded(8 * subject + turn) for turn in range(8)] for subject in range(25)]
    return evaluate(batches, CHOICES, score=score, generate=generate, resamples=400)


def png(seed: int) -> bytes:
    from PIL import Image

    pixels = np.random.default_rng(seed).integers(60, 200, (12, 12, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).resize((256, 256)).save(buffer, format="PNG")
    return buffer.getvalue()


def mp4() -> bytes:
    """Half a second of moving grey, H.264."""
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 256, 256, "yuv420p"
        for number in range(4):
            frame = av.VideoFrame.from_ndarray(np.full((256, 256, 3), 60 + 20 * number, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return buffer.getvalue()


@pytest.fixture(scope="session")
def report_data(evaluation) -> ReportData:
    """A report with every section filled."""
    index = [row(number) for number in range(200)]
    ledger = [LedgerRow(key=item.key, unit=0, status="written", shard=item.shard, offset=512) for item in index]
    fates = [("decode", "empty"), ("decode", "not_media"), ("deid", "residual_face"), ("decode", "empty")]
    ledger += [
        LedgerRow(key=f"{n:032x}", unit=1, status="rejected", stage=s, reason=r)
        for n, (s, r) in enumerate(fates, start=900)
    ]
    steps = tuple(range(120))
    return ReportData(
        title="Demo: emotion without a face",
        run_name="demo",
        created="2026-01-02 12:00 UTC",
        dataset="demo/v1",
        model="nano",
        evaluation=evaluation,
        deid=deid_figures(index, ledger),
        stages=tuple(
            StageCurve(
                name=name,
                steps=steps,
                losses=tuple(float(x) for x in 2.2 * np.exp(-np.array(steps) / 40) + 0.2 * np.sin(steps) ** 2 + 0.1),
                validation_steps=(30, 60, 90, 119),
                validation_losses=(1.2, 0.7, 0.5, 0.4),
                facts={"ranks": "2", "ZeRO": "3", "trainable": "1.4 M"},
            )
            for name in ("align_video", "align_audio", "tune")
        ),
        pictures=tuple(Picture(png=png(n), caption=f"clip {n}, 1.0 s") for n in range(6)),
        film=Film(mp4=mp4(), caption="3 s, 8 frames a second."),
        explanations=(
            Explanation(
                key="ab" * 16,
                truth="positive",
                answer="positive",
                generated="open hands and a lively voice point to positive",
                reference="The person opens both hands and speaks with a wide contour: positive.",
            ),
            Explanation(
                key="cd" * 16, truth="negative", answer="positive", generated="<script>alert(1)</script> & so on"
            ),
        ),
        config_yaml="name: demo\nseed: 0\nmodel:\n  name: nano\n" + "x: 1\n" * 5,
        digests={"dataset": "9a" * 32, "config": "7b" * 32, "plan, stage tune": "3c" * 32},
        mlflow={"parent run": "0" * 32, "stage tune": "1" * 32, "open it": "mlflow ui --backend-store-uri sqlite:///x"},
        seconds={"preprocess": 95.2, "train": 241.0, "evaluate": 22.0},
        synthetic="Clips were generated from a seed; faces come from one photograph, voices from a synthesiser.",
        notes=("Two of the clips were broken on purpose.",),
    )
