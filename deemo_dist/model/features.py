"""From decoded media to the tensors the towers take. All float32, all on the CPU, all deterministic."""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.audio_utils import mel_filter_bank

from deemo_dist.errors import ModelError
from deemo_dist.model.configuration import MediaShape

RATE = 16_000
FLOW_FRAMES = 4
MOTION_GAIN = 2.0
FLOOR = 1e-10


def pick(available: int, wanted: int) -> np.ndarray:
    """``wanted`` positions evenly over ``available``, each in the middle of its bin; repeated where there are fewer."""
    return np.minimum(((np.arange(wanted) + 0.5) * available / wanted).astype(np.int64), available - 1)


def video_tensor(frames: np.ndarray, media: MediaShape) -> Tensor:
    """uint8 [T, H, W, 3] RGB -> float32 [frames, 3, size, size], resized with antialiasing, normalised."""
    if frames.ndim != 4 or frames.shape[0] == 0 or frames.shape[-1] != 3:
        raise ModelError(f"video frames must be uint8 [T, H, W, 3] with T > 0, not {list(frames.shape)}")
    chosen = np.ascontiguousarray(frames[pick(len(frames), media.frames)])
    pixels = torch.from_numpy(chosen).permute(0, 3, 1, 2).float()
    size = (media.image_size, media.image_size)
    if pixels.shape[-2:] != size:
        pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True, align_corners=False)
    pixels = pixels / 255.0
    if media.image_normalise == "fixed":
        mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (media.image_mean, media.image_std))
        return (pixels - mean) / std
    return _by_the_clip(pixels, MOTION_GAIN if media.image_normalise == "motion" else 0.0)


def _by_the_clip(pixels: Tensor, gain: float) -> Tensor:
    """Each channel of a clip [T, 3, H, W] by its own mean and deviation, so that light and colours of a room and of
    clothes weigh less; then ``gain`` times what differs from the clip's mean frame on top: what moves."""
    mean = pixels.mean(dim=(0, 2, 3), keepdim=True)
    pixels = (pixels - mean) / (pixels.std(dim=(0, 2, 3), keepdim=True) + 0.05)
    return pixels + gain * (pixels - pixels.mean(0, keepdim=True))


def frame_times(times: np.ndarray | None, frames: int, fps: float, media: MediaShape) -> Tensor:
    """Seconds of the chosen frames, float32 [media.frames]; taken from ``fps`` where the clip carries no times."""
    known = np.arange(frames) / max(fps, 1e-3) if times is None or len(times) != frames else times
    return torch.from_numpy(np.asarray(known, dtype=np.float32)[pick(frames, media.frames)])


def audio_tensor(waveform: np.ndarray, windows: int, media: MediaShape) -> tuple[Tensor, Tensor]:
    """float32 [N] at 16 kHz -> features [windows, ...] as the tower takes them, and the windows' starts in seconds.

    A sound longer than the windows can hold is covered by windows spread evenly over it; a shorter one is padded.
    """
    length = media.window_samples
    spare = max(0, len(waveform) - length * windows)
    starts = [number * length + (spare * number // max(1, windows - 1)) for number in range(windows)]
    cut = torch.zeros(windows, length)
    for number, start in enumerate(starts):
        piece = np.asarray(waveform[start : start + length], dtype=np.float32)
        cut[number, : len(piece)] = torch.from_numpy(piece)
    return audio_features(cut, media), torch.tensor(starts, dtype=torch.float32) / RATE


def audio_features(windows: Tensor, media: MediaShape) -> Tensor:
    """Waveforms [W, N] -> [W, bins, frames], or [W, N] normalised for a tower that takes the wave itself."""
    if media.audio_kind == "waveform":
        return (windows - windows.mean(1, keepdim=True)) / (windows.var(1, keepdim=True, correction=0) + 1e-7).sqrt()
    if media.audio_kind == "mel":
        return _whisper_log_mel(windows, media)
    return _pitch(windows, media)


def _power(windows: Tensor, media: MediaShape) -> Tensor:
    """Power spectrum [W, n_fft / 2 + 1, frames]."""
    size, hop = round(media.audio_frame_ms * 16), round(media.audio_hop_ms * 16)
    spectrum = torch.stft(windows, size, hop, window=torch.hann_window(size), return_complex=True)
    return spectrum[..., : media.window_frames].abs().square()


def _whisper_log_mel(windows: Tensor, media: MediaShape) -> Tensor:
    """Whisper's features (transformers' WhisperFeatureExtractor), to the last step: log10, 8 decades, (x + 4) / 4."""
    log = (_mel_filters(media).T @ _power(windows, media)).clamp(min=FLOOR).log10()
    log = torch.maximum(log, log.amax(dim=(1, 2), keepdim=True) - 8.0)
    return (log + 4.0) / 4.0


@lru_cache(maxsize=4)
def _mel_filters(media: MediaShape) -> Tensor:
    bank = mel_filter_bank(
        num_frequency_bins=round(media.audio_frame_ms * 16) // 2 + 1,
        num_mel_filters=media.audio_bins,
        min_frequency=media.audio_min_hz,
        max_frequency=media.audio_max_hz,
        sampling_rate=RATE,
        norm="slaney",
        mel_scale="slaney",
    )
    return torch.from_numpy(bank).float()


def _pitch(windows: Tensor, media: MediaShape) -> Tensor:
    """Where the harmonics are and how they move, whoever speaks: [W, bins, frames], zero mean and unit variance.

    Two thirds of the bins are a log-frequency spectrum without its envelope (formants, loudness, microphone). The last
    third is its correlation with the spectrum ``FLOW_FRAMES`` earlier under shifts in pitch, after the fundamental
    frequency variation of Laskowski, Edlund and Heldner (ICASSP 2008): a rise or a fall looks the same at any pitch.
    """
    flow_bins = media.audio_bins // 3
    spectrum = _whitened(windows, media, media.audio_bins - flow_bins)
    reach = flow_bins // 2
    before = F.pad(spectrum, (FLOW_FRAMES, 0))[..., : spectrum.shape[-1]]
    shifted = F.pad(before, (0, 0, reach, reach))
    rows = spectrum.shape[1]
    flow = torch.stack([(shifted[:, lag : lag + rows] * spectrum).mean(1) for lag in range(flow_bins)], dim=1)
    return torch.cat([_standard(spectrum), _standard(flow)], dim=1)


def _whitened(windows: Tensor, media: MediaShape, bins: int) -> Tensor:
    """Log-frequency log power minus its running mean over frequency, louder frames weighing more: [W, bins, frames]."""
    power = torch.einsum("fb,wft->wbt", _log_filters(media, bins), _power(windows, media))
    loudest = power.amax(dim=(1, 2), keepdim=True).clamp(min=FLOOR)
    log = (power / loudest).clamp(min=1e-6).log()
    width = bins // 8 * 2 + 1
    edge = F.pad(log.transpose(1, 2), (width // 2, width // 2), mode="replicate")
    envelope = F.avg_pool1d(edge, width, stride=1).transpose(1, 2)
    loudness = power.mean(1, keepdim=True)
    weight = (loudness / loudness.amax(dim=2, keepdim=True).clamp(min=FLOOR)).sqrt()
    return (log - envelope) * weight


@lru_cache(maxsize=4)
def _log_filters(media: MediaShape, bins: int) -> Tensor:
    """Triangular filters [n_fft / 2 + 1, bins], their centres evenly spaced in log frequency, each at least one line
    wide."""
    lines = torch.linspace(0, RATE / 2, round(media.audio_frame_ms * 16) // 2 + 1)
    centres = torch.logspace(np.log10(max(media.audio_min_hz, 20.0)), np.log10(media.audio_max_hz), bins)
    step = centres * (centres[1] / centres[0] - 1.0)
    width = torch.maximum(step, lines[1].expand(bins))
    bank = (1.0 - (lines[:, None] - centres[None, :]).abs() / width[None, :]).clamp(min=0.0)
    return bank / bank.sum(0, keepdim=True).clamp(min=FLOOR)


def _standard(features: Tensor) -> Tensor:
    """Zero mean and unit variance in each window."""
    mean = features.mean(dim=(1, 2), keepdim=True)
    return (features - mean) / (features.var(dim=(1, 2), keepdim=True, correction=0) + 1e-6).sqrt()


def cue_tensor(cues: np.ndarray, times: np.ndarray | None, fps: float, media: MediaShape) -> tuple[Tensor, Tensor]:
    """Cues [C, K, 3] -> float32 [cue_frames, K, 3] at ``cue_rate`` and their seconds [cue_frames].

    Coordinates are weighed by their confidence, so that an unseen keypoint says nothing. After a short clip the steps
    are zero; a clip longer than the steps reach is covered evenly.
    """
    if cues.ndim != 3 or cues.shape[0] == 0 or cues.shape[1:] != (media.cue_keypoints, 3):
        raise ModelError(
            f"body cues must be [C, {media.cue_keypoints}, 3] with C > 0, not {list(cues.shape)}",
            hint="set model.cue_keypoints to the data set's",
        )
    known = np.arange(len(cues)) / max(fps, 1e-3) if times is None or len(times) != len(cues) else np.asarray(times)
    last = float(known[-1])
    step = max(1.0 / media.cue_rate, last / max(1, media.cue_frames - 1))
    wanted = np.arange(media.cue_frames) * step
    nearest = np.abs(known[None, :] - wanted[:, None]).argmin(1)
    values = torch.from_numpy(np.nan_to_num(cues.astype(np.float32)[nearest]))
    confidence = values[..., 2:].clamp(0.0, 1.0)
    values = torch.cat([values[..., :2].clamp(-8.0, 8.0) * confidence, confidence], dim=-1)
    values[torch.from_numpy(wanted > last + step / 2)] = 0.0
    return values, torch.from_numpy(wanted.astype(np.float32))
