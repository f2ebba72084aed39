"""What is known by the digest of its bytes."""

from dataclasses import dataclass, field

from deemo_dist.digests import UNSAID, blake3_bytes, sha256_bytes


@dataclass(frozen=True, kw_only=True)
class Digested:
    """Bytes of a dataset by their hex digest: ``blake3``, or ``sha256`` in formats of before (index 2, receipt 1)."""

    blake3: str | None = field(default=None, metadata=UNSAID)
    sha256: str | None = field(default=None, metadata=UNSAID)

    @property
    def digest(self) -> str:
        """The digest that there is (64 characters); empty where there is none."""
        return self.blake3 or self.sha256 or ""

    def holds(self, content: bytes | memoryview) -> bool:
        """Whether ``content`` has this digest; False where there is none."""
        if self.blake3 is not None:
            return blake3_bytes(content) == self.blake3
        return self.sha256 is not None and sha256_bytes(content) == self.sha256
