"""What the sandbox child and its parent say to each other: plain JSON and raw bytes, never pickles.

A message is one kind byte, a float64 (a frame's time) and an unsigned 64-bit length, then the content:
``B`` begins a clip (JSON: width, height), ``F`` a frame (RGB bytes), ``S`` a block of sound (float32 bytes), ``E`` ends
(JSON), ``X`` an error (JSON: reason, message), ``R`` ready.
"""

import struct

HEADER = struct.Struct("<cdQ")
SMALL = 1 << 16


def pack(kind: bytes, content: bytes | memoryview = b"", time: float = 0.0) -> bytes:
    """The head of a message; the content follows it."""
    return HEADER.pack(kind, time, len(content))
