"""Our de-identification on one file, again and again, in a process of its own: `faces` or `bodies`.

Each line of input names a source and a target as JSON; the answer is the number of frames.
"""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from deemo_dist.config import KeysConfig, PolicyConfig
from deemo_dist.deid import Deidentifier, KeyRing
from deemo_dist.deid.body.people import BodyModels
from deemo_dist.media import Bounds, Sandbox, VideoWriter, mux

POLICY = replace(PolicyConfig(), captions="keep")  # deface masks none, and audits nothing
NOBODY = np.zeros((0, 4))


class NoBodies(BodyModels):
    """Networks of the body that see nobody: what is left of the product is its faces."""

    def __init__(self) -> None:
        self.people = lambda frame: (NOBODY, [])  # type: ignore[assignment]
        self.poses = lambda frame, region: None  # type: ignore[assignment]
        self.palms = lambda frame: []  # type: ignore[assignment]
        self.hands = lambda frame, region: None  # type: ignore[assignment]


def unseen(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An audit that looks at nothing."""
    return NOBODY, np.zeros(0)


class Unread(VideoWriter):
    """A writer whose file the audit does not read back."""

    def shown(self, number: int) -> np.ndarray:
        return np.zeros((*self._size[::-1], 3), np.uint8)


class Ours:
    """File to file by the product's own two passes: decoded in the sandbox, looked at, masked, encoded, the sound put
    back. The audit is left out."""

    def __init__(self, *, bodies: bool) -> None:
        self.sandbox = Sandbox()
        self.deid = Deidentifier(POLICY, KeyRing.open(KeysConfig(source="demo"), dataset="bench"))
        self.deid.auditor = self.deid.small = unseen
        if not bodies:
            self.deid.body = NoBodies()

    def __call__(self, source: Path, target: Path) -> int:
        """One file; its frames."""
        clip = self.sandbox.open(source, Bounds())
        seen = self.deid.look(clip)
        buffer = io.BytesIO()
        with Unread(buffer) as writer:
            self.deid.release(clip, writer, seen)
        sound = clip.sound()
        target.write_bytes(mux(buffer.getvalue(), sound[0][:], sound[1]) if sound else buffer.getvalue())
        return len(seen.times)


def main(variant: str) -> None:
    """Answer until there is no more input."""
    ours = Ours(bodies=variant == "bodies")
    for line in sys.stdin:
        source, target = json.loads(line)
        sys.stdout.write(json.dumps(ours(Path(source), Path(target))) + "\n")
        sys.stdout.flush()
    ours.sandbox.close()


if __name__ == "__main__":
    main(sys.argv[1])
