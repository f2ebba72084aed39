"""From tower features to the language model's embeddings.

Every projector takes features [N, T, P, D] (N media, T time steps, P places: patches of a frame, 1 for sound and
cues) and the seconds of the steps [N, T], and gives tokens [N, L, out]. Time is added to the features as sinusoids of
seconds, so a movement and a contour can be told from their parts in another order.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deemo_dist.model.configuration import ProjectorShape

TIME_SINES = 16
LONGEST_PERIOD = 256.0
SHORTEST_PERIOD = 0.25


class TimeEmbedding(nn.Module):
    """Seconds [N, T] -> [N, T, dim]: sines and cosines of periods from 0.25 to 256 s, and a learned mixture of them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * TIME_SINES, dim)

    def forward(self, seconds: Tensor) -> Tensor:
        """Embed seconds of any float dtype."""
        span = math.log(LONGEST_PERIOD / SHORTEST_PERIOD)
        exponent = torch.arange(TIME_SINES, device=seconds.device, dtype=torch.float32) / (TIME_SINES - 1)
        angle = seconds.float().unsqueeze(-1) * (2 * math.pi / SHORTEST_PERIOD) * torch.exp(-span * exponent)
        return self.mix(torch.cat([angle.sin(), angle.cos()], dim=-1).to(self.mix.weight.dtype))


def _head(dim: int, hidden: int, out: int, layers: int) -> nn.Sequential:
    """``layers`` linear maps with GELU between them."""
    parts: list[nn.Module] = []
    for layer in range(layers):
        last = layer == layers - 1
        parts.append(nn.Linear(dim if layer == 0 else hidden, out if last else hidden))
        parts += [] if last else [nn.GELU()]
    return nn.Sequential(*parts)


class MlpProjector(nn.Module):
    """Mean pooling and an MLP (LLaVA's, with pooling): over the places of each frame where ``per_step``, else over
    time."""

    def __init__(self, dim: int, out: int, shape: ProjectorShape, *, per_step: bool) -> None:
        super().__init__()
        self.tokens, self.per_step = shape.tokens, per_step
        self.norm = nn.LayerNorm(dim)
        self.time = TimeEmbedding(dim)
        self.head = _head(dim, shape.hidden, out, shape.layers)

    def forward(self, features: Tensor, seconds: Tensor) -> Tensor:
        """[N, T, P, D] and [N, T] -> [N, T * tokens, out] or [N, tokens, out]."""
        features = self.norm(features) + self.time(seconds).unsqueeze(2)
        count, steps, places, dim = features.shape
        if self.per_step:
            pooled = _pool_places(features.reshape(count * steps, places, dim), self.tokens)
            return self.head(pooled).reshape(count, steps * self.tokens, -1)
        return self.head(_pool_line(features.reshape(count, steps * places, dim), self.tokens))


def _pool_places(features: Tensor, tokens: int) -> Tensor:
    """[N, P, D] -> [N, tokens, D]: over a square grid where both are squares, else along the line of places."""
    side, grid = math.isqrt(features.shape[1]), math.isqrt(tokens)
    if side * side != features.shape[1] or grid * grid != tokens or grid > side:
        return _pool_line(features, tokens)
    line = _averages(side, grid, features)
    return torch.kron(line, line) @ features


def _pool_line(features: Tensor, tokens: int) -> Tensor:
    """[N, S, D] -> [N, tokens, D] by means of neighbouring positions."""
    return _averages(features.shape[1], tokens, features) @ features


def _averages(places: int, tokens: int, like: Tensor) -> Tensor:
    """[tokens, places]: row i averages the places from floor(i * places / tokens) to ceil((i + 1) * places / tokens).

    Torch's own adaptive pools do the same, with gradients that a GPU adds up in no fixed order.
    """
    row = torch.arange(tokens, device=like.device)[:, None]
    place = torch.arange(places, device=like.device)[None, :]
    inside = (place >= row * places // tokens) & (place < -(-(row + 1) * places // tokens))
    return inside.to(like.dtype) / inside.sum(1, keepdim=True).to(like.dtype)


class _QueryLayer(nn.Module):
    """Queries look at one another, then at the features, then through an MLP; norms come first."""

    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.norm_self, self.norm_cross, self.norm_mlp = (nn.LayerNorm(hidden) for _ in range(3))
        self.self_attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.cross_attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.mlp = _head(hidden, 4 * hidden, hidden, 2)

    def forward(self, queries: Tensor, features: Tensor) -> Tensor:
        normed = self.norm_self(queries)
        queries = queries + self.self_attention(normed, normed, normed, need_weights=False)[0]
        normed = self.norm_cross(queries)
        queries = queries + self.cross_attention(normed, features, features, need_weights=False)[0]
        return queries + self.mlp(self.norm_mlp(queries))


class QFormerProjector(nn.Module):
    """Learned queries over all places and times (BLIP-2's Q-Former as Video-LLaMA uses it): [N, tokens, out]."""

    def __init__(self, dim: int, out: int, shape: ProjectorShape) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.enter = nn.Linear(dim, shape.hidden)
        self.time = TimeEmbedding(shape.hidden)
        self.queries = nn.Parameter(torch.randn(shape.tokens, shape.hidden))
        self.layers = nn.ModuleList([_QueryLayer(shape.hidden, shape.heads) for _ in range(shape.layers)])
        self.leave = nn.Sequential(nn.LayerNorm(shape.hidden), nn.Linear(shape.hidden, out))

    def forward(self, features: Tensor, seconds: Tensor) -> Tensor:
        """[N, T, P, D] and [N, T] -> [N, tokens, out]."""
        features = (self.enter(self.norm(features)) + self.time(seconds).unsqueeze(2)).flatten(1, 2)
        queries = self.queries.unsqueeze(0).expand(len(features), -1, -1)
        for layer in self.layers:
            queries = layer(queries, features)
        return self.leave(queries)


class _ConvBlock(nn.Module):
    """A residual convolution over time and space; per-place LayerNorm, so that no statistics cross samples."""

    def __init__(self, hidden: int, kernel: tuple[int, int, int]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(hidden)
        self.convolution = nn.Conv3d(hidden, hidden, kernel, padding=(kernel[0] // 2, kernel[1] // 2, kernel[2] // 2))

    def forward(self, features: Tensor) -> Tensor:
        normed = self.norm(features.movedim(1, -1)).movedim(-1, 1)
        return features + self.convolution(F.gelu(normed))


class StcProjector(nn.Module):
    """Spatial-temporal convolution (after VideoLLaMA2's STC connector): blocks, a stride of two in time, blocks, an
    MLP.

    Video gives ``tokens`` places of every second frame, sound and cues ``tokens`` stretches of time.
    """

    def __init__(self, dim: int, out: int, shape: ProjectorShape, *, per_step: bool) -> None:
        super().__init__()
        self.tokens, self.per_step = shape.tokens, per_step
        space = 3 if per_step else 1
        self.norm = nn.LayerNorm(dim)
        self.time = TimeEmbedding(dim)
        self.enter = nn.Linear(dim, shape.hidden)
        self.before = _ConvBlock(shape.hidden, (3, space, space))
        self.down = nn.Conv3d(
            shape.hidden, shape.hidden, (3, space, space), stride=(2, 1, 1), padding=(1, space // 2, space // 2)
        )
        self.after = _ConvBlock(shape.hidden, (3, space, space))
        self.head = _head(shape.hidden, shape.hidden, out, shape.layers)

    def forward(self, features: Tensor, seconds: Tensor) -> Tensor:
        """[N, T, P, D] and [N, T] -> [N, ceil(T / 2) * tokens, out] or [N, tokens, out]."""
        features = self.enter(self.norm(features) + self.time(seconds).unsqueeze(2))
        count, steps, places, dim = features.shape
        side = math.isqrt(places)
        rows, columns = (side, side) if side * side == places else (1, places)
        volume = features.permute(0, 3, 1, 2).reshape(count, dim, steps, rows, columns)
        volume = self.after(self.down(self.before(volume)))
        line = volume.permute(0, 2, 3, 4, 1).flatten(2, 3)
        if self.per_step:
            pooled = _pool_places(line.flatten(0, 1), self.tokens)
            return self.head(pooled).reshape(count, line.shape[1] * self.tokens, -1)
        return self.head(_pool_line(line.flatten(1, 2), self.tokens))


class CueProjector(nn.Module):
    """Body cues to tokens: convolutions over time find postures and movements, then the projector of the configuration.

    Input [N, C, K, 3] (x, y weighed by confidence, confidence); the posture of a clip on average is taken off beside
    the posture itself, so that a movement looks alike on bodies of other proportions.
    """

    def __init__(self, keypoints: int, out: int, shape: ProjectorShape) -> None:
        super().__init__()
        self.enter = nn.Linear(2 * keypoints * 3, shape.hidden)
        self.norms = nn.ModuleList([nn.LayerNorm(shape.hidden) for _ in range(shape.layers)])
        self.steps = nn.ModuleList([nn.Conv1d(shape.hidden, shape.hidden, 5, padding=2) for _ in range(shape.layers)])
        self.projector = build_projector(shape.hidden, out, shape, per_step=False)

    def forward(self, cues: Tensor, seconds: Tensor) -> Tensor:
        """[N, C, K, 3] and [N, C] -> [N, tokens, out]."""
        flat = cues.to(self.enter.weight.dtype).flatten(2)
        features = self.enter(torch.cat([flat, flat - flat.mean(1, keepdim=True)], dim=-1))
        for norm, step in zip(self.norms, self.steps, strict=True):
            features = features + F.gelu(step(norm(features).transpose(1, 2)).transpose(1, 2))
        return self.projector(features.unsqueeze(2), seconds)


def build_projector(dim: int, out: int, shape: ProjectorShape, *, per_step: bool) -> nn.Module:
    """The projector of ``shape`` from ``dim`` to ``out``; ``per_step`` for video, whose tokens count by frame."""
    if shape.kind == "qformer":
        return QFormerProjector(dim, out, shape)
    kind = MlpProjector if shape.kind == "mlp" else StcProjector
    return kind(dim, out, shape, per_step=per_step)
