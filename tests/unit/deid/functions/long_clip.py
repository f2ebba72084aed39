"""Run as a process of its own: de-identify a long 1080p clip with sound, and say what memory the tree took (JSON)."""

import json
import os
import sys
import threading
import time
from pathlib import Path

from deemo_dist.config import KeysConfig, PolicyConfig
from deemo_dist.deid import Deidentifier, KeyRing
from deemo_dist.media import Bounds, Sandbox, VideoWriter
from deemo_dist.records import Clip


def held(pid: int, name: str) -> float:
    """Bytes of a process: ``Rss``, or ``Pss`` (what is shared counted once over all)."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0.0)


def watch(sandbox: Sandbox, peak: dict[str, float], stop: threading.Event) -> None:
    """Keep the highest sums of this process and the sandbox child's."""
    while not stop.wait(0.2):
        for name in ("Rss", "Pss"):
            tree = sum(held(pid, name) for pid in (os.getpid(), sandbox.pid) if pid)
            peak[name] = max(peak.get(name, 0.0), tree)


def main(path: Path) -> None:
    """De-identify ``path`` and print the peaks."""
    policy = PolicyConfig(max_frames=200_000, max_seconds=4000, cpu_seconds=4000)
    deidentifier = Deidentifier(policy, KeyRing.open(KeysConfig(source="demo"), dataset="long"))
    clip = Clip(uri="file:///raw/long.mp4", subject="A", split="train", source="test", size_bytes=1, transcript="hello")
    peak, stop, started = {"loaded": held(os.getpid(), "Pss")}, threading.Event(), time.monotonic()
    with Sandbox() as sandbox, VideoWriter(path.with_suffix(".out.mp4")) as writer:
        threading.Thread(target=watch, args=(sandbox, peak, stop), daemon=True).start()
        made = deidentifier(clip, sandbox.open(path, Bounds.of(policy)), writer)
        stop.set()
    found = {"frames": made.video.frames, "sound": made.samples, "muted": made.attestation.figures["muted_seconds"]}
    print(json.dumps({**peak, **found, "seconds": time.monotonic() - started}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
