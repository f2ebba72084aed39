"""What the bytes of a dataset depend on besides its inputs: library versions, instruction set, threads, weights."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from deemo_dist.deid.runtime import THREADS
from deemo_dist.weights import registry

PACKAGES = (
    "ai-edge-litert", "av", "cryptography", "ctranslate2", "faker", "faster-whisper", "numpy", "onnxruntime",
    "opencv-python-headless", "presidio-analyzer", "pyworld", "scipy", "spacy",
)  # fmt: skip
WEIGHTS = (
    "centerface", "text-detector", "pose-detector", "pose-full", "palm-lite", "hand-lite", "blazeface-short",
    "blazeface-full", "spacy-en-sm", "english-words", "whisper-base", "moonshine-tiny",
)  # fmt: skip
"""All that the de-identification loads; of the audit only what decides, clip by clip, what is released."""

FLAGS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "asimd", "sve")


def toolchain() -> dict[str, object]:
    """Plain data to be digested: equal on two machines only if they make the same bytes."""
    weights = registry()
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "instructions": _instructions(),
        "threads": THREADS,
        "packages": {name: _version(name) for name in PACKAGES},
        "weights": {name: weights[name].sha256 for name in WEIGHTS},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"


def _instructions() -> list[str]:
    """The vector instruction sets that kernels choose by."""
    try:
        words = set(Path("/proc/cpuinfo").read_text().split())
    except OSError:
        return []
    return [flag for flag in FLAGS if flag in words]
