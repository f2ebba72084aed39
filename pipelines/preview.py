"""Pictures and a film of masked samples, for a report."""

from collections.abc import Sequence

from deemo_dist.dataset import Dataset, load_member
from deemo_dist.evaluation import Film, Picture
from deemo_dist.media import decode_flac, mux, poster
from deemo_dist.records import IndexRow
from deemo_dist.storage import Store

SPEECH_RATE = 16_000
FILM_SECONDS = 20.0
"""Of a longer clip the beginning is shown: the report is one file, with the film in it."""


def pictures_of(rows: Sequence[IndexRow], store: Store, dataset: Dataset, *, count: int) -> tuple[Picture, ...]:
    """A masked frame of ``count`` samples spread over ``rows``."""
    chosen = _spread(rows, count)
    return tuple(
        Picture(png=poster(load_member(row, store, dataset.prefix, "mp4")), caption=f"sample {row.key[:8]}")
        for row in chosen
    )


def film_of(rows: Sequence[IndexRow], store: Store, dataset: Dataset, *, count: int = 1) -> Film | None:
    """One masked clip, of ``FILM_SECONDS`` at most, with its disguised speech; None where no sample has sound, or none
    is to be shown (``count`` 0)."""
    row = next((row for row in rows if row.audio_seconds > 0), None) if count else None
    if row is None:
        return None
    waveform = decode_flac(load_member(row, store, dataset.prefix, "flac"))
    film = mux(load_member(row, store, dataset.prefix, "mp4"), waveform, SPEECH_RATE, seconds=FILM_SECONDS)
    return Film(mp4=film, caption=f"sample {row.key[:8]}, masked, with its disguised speech")


def _spread(rows: Sequence[IndexRow], count: int) -> list[IndexRow]:
    step = max(1, len(rows) // max(1, count))
    return list(rows[::step][:count])
