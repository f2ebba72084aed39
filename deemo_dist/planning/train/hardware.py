"""GPUs and networks as their makers state them. Rates of one direction, dense products, no sparsity."""

import re
from dataclasses import dataclass

from deemo_dist.errors import ConfigError

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A GPU and its node.

    ``peak``: bf16 operations a second, dense; ``peak_fp32`` those of fp32 (with TF32 where there is any); ``memory``:
    bytes; ``bandwidth``: of its memory, bytes/s; ``link``: bytes/s to the other GPUs of its node, one direction;
    ``host``: bytes/s to the host's memory; ``per_node``: GPUs of a usual node, and ``ram`` bytes of that
    node's memory (``source``). ``efficiency``: share of the peak that a
    dense model's step reaches when nothing waits, and ``recomputing`` the same with gradient checkpointing, recomputed
    operations counted, where packs can be larger: from published trainings (``reached``).
    """

    name: str
    peak: float
    peak_fp32: float
    memory: int
    bandwidth: float
    link: float
    host: float
    per_node: int
    ram: int
    efficiency: float
    recomputing: float
    source: str
    reached: str


_FOUNDRY = "llm-foundry, scripts/train/benchmarking/README.md, 7B on 8 GPUs: MFU at 2,048 tokens, HFU at 4,096"
_OURS = "not published in that table: as of the H100 [ours]"

GPUS: dict[str, Gpu] = {
    gpu.name: gpu
    for gpu in (
        Gpu(
            name="h100",
            peak=989.4e12,
            peak_fp32=494.7e12,
            memory=80 * GIB,
            bandwidth=3.35e12,
            link=450e9,
            host=64e9,
            per_node=8,
            ram=2048 * GIB,
            efficiency=0.464,
            recomputing=0.54,
            source="NVIDIA H100 Tensor Core GPU data sheet, SXM5; its node a DGX H100",
            reached=f"{_FOUNDRY} (46.44 %, 53.9 %)",
        ),
        Gpu(
            name="h200",
            peak=989.4e12,
            peak_fp32=494.7e12,
            memory=141 * 10**9,
            bandwidth=4.8e12,
            link=450e9,
            host=64e9,
            per_node=8,
            ram=2048 * GIB,
            efficiency=0.464,
            recomputing=0.54,
            source="NVIDIA H200 Tensor Core GPU data sheet, SXM5; its node a DGX H200",
            reached=_OURS,
        ),
        Gpu(
            name="b200",
            peak=2250e12,
            peak_fp32=1125e12,
            memory=180 * 10**9,
            bandwidth=7.7e12,
            link=900e9,
            host=64e9,
            per_node=8,
            ram=2048 * GIB,
            efficiency=0.464,
            recomputing=0.54,
            source="NVIDIA DGX B200 data sheet, an eighth of the system",
            reached=_OURS,
        ),
        Gpu(
            name="a100",
            peak=312e12,
            peak_fp32=156e12,
            memory=80 * GIB,
            bandwidth=2.039e12,
            link=300e9,
            host=32e9,
            per_node=8,
            ram=2048 * GIB,
            efficiency=0.642,
            recomputing=0.73,
            source="NVIDIA A100 Tensor Core GPU data sheet, SXM4 80 GB; its node a DGX A100 640GB",
            reached=f"{_FOUNDRY} (64.23 %, 73.12 %)",
        ),
        Gpu(
            name="a100-40g",
            peak=312e12,
            peak_fp32=156e12,
            memory=40 * GIB,
            bandwidth=1.555e12,
            link=300e9,
            host=32e9,
            per_node=8,
            ram=1024 * GIB,
            efficiency=0.642,
            recomputing=0.73,
            source="NVIDIA A100 Tensor Core GPU data sheet, SXM4 40 GB; its node a DGX A100 320GB",
            reached="as of the 80 GB A100 [ours]",
        ),
        Gpu(
            name="l40s",
            peak=362e12,
            peak_fp32=183e12,
            memory=48 * 10**9,
            bandwidth=864e9,
            link=32e9,
            host=32e9,
            per_node=8,
            ram=1536 * GIB,
            efficiency=0.464,
            recomputing=0.54,
            source="NVIDIA L40S data sheet; no NVLink, PCIe 4 x16 between GPUs; its node an AWS g6e.48xlarge",
            reached=_OURS,
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class Network:
    """The network of a node: ``links`` of ``rate`` bytes/s, one direction. ``1g`` is a gigabit a second."""

    name: str
    links: int
    rate: float

    @property
    def node(self) -> float:
        """Bytes/s out of a node. A ring of ZeRO's collectives crosses it once, whatever the GPUs behind it."""
        return self.links * self.rate


def gpu_of(name: str) -> Gpu:
    """The GPU called ``name``. Raises ``ConfigError``."""
    if name.lower() not in GPUS:
        raise ConfigError(f"no figures for the GPU '{name}'", hint=f"one of {', '.join(GPUS)}")
    return GPUS[name.lower()]


def network_of(name: str) -> Network:
    """``400g``: one link of 400 Gbit/s a node; ``8x400g``: eight of them, one beside each GPU. Raises
    ``ConfigError``."""
    match = re.fullmatch(r"(?:(\d+)x)?(\d+)g", name.lower())
    if not match or not int(match[2]) or match[1] == "0":
        raise ConfigError(f"'{name}' is no network", hint="such as 400g (a node's link, Gbit/s) or 8x400g")
    return Network(name=name.lower(), links=int(match[1] or 1), rate=int(match[2]) * 1e9 / 8)
