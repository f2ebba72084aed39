"""The root key and what is derived from it: every name a dataset shows is a keyed hash.

A root key of 32 bytes or more comes from the environment, a file, or is the marked demo key. HKDF-SHA256 (RFC 5869)
derives one sub-key per dataset and purpose, so that keys of two datasets cannot be linked, nor a sample key be used as
a voice parameter. Without a root key nothing starts. As long as the root key exists the output is pseudonymous.
"""

import base64
import binascii
import hmac
import os
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from deemo_dist.config import KeysConfig
from deemo_dist.errors import ConfigError

DEMO_ROOT_KEY = sha256(b"deemo_dist demo key: known to everyone, protects nothing").digest()
MINIMUM_BYTES = 32
NONCE_BYTES = 12
CONTEXT = "deemo_dist/v1"
HOW_TO_MAKE = "make one with: python -c 'import secrets; print(secrets.token_hex(32))'"


def hkdf(root: bytes, info: bytes, *, salt: bytes = b"", length: int = 32) -> bytes:
    """HKDF-SHA256 (RFC 5869): ``length`` bytes (at most 8,160) derived from ``root`` for the use ``info``."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(root)


@dataclass(frozen=True)
class KeyRing:
    """Sub-keys of one root key for one dataset. Picklable; its representation shows no secret.

    ``key_id``: 16 hex characters that name the root key without telling it, the same for every dataset.
    ``demo``: the root key is the published one of the demo.
    """

    key_id: str
    demo: bool
    dataset: str
    _root: bytes = field(repr=False)

    @classmethod
    def open(cls, config: KeysConfig, *, dataset: str = "") -> "KeyRing":
        """Read the root key ``config`` points at. Raises ``ConfigError`` if it is missing, short or malformed."""
        root = _read_root(config)
        return cls(
            key_id=hkdf(root, f"{CONTEXT}/key-id".encode(), length=8).hex(),
            demo=hmac.compare_digest(root, DEMO_ROOT_KEY),
            dataset=dataset,
            _root=root,
        )

    def sample_key(self, uri: str) -> str:
        """32 hex characters for the clip at ``uri``; says nothing of its name without the key."""
        return self._keyed("sample", uri.encode())[:32]

    def subject_key(self, subject: str) -> str:
        """32 hex characters for a person: the same for all clips of ``subject`` in this dataset."""
        return self._keyed("subject", subject.encode())[:32]

    def voice_seed(self, uri: str) -> int:
        """A 63-bit seed for the voice parameters of the clip at ``uri``: secret as the key is."""
        return int(self._keyed("voice", uri.encode())[:16], 16) >> 1

    def content_digest(self, data: bytes) -> str:
        """64 hex characters of an HMAC over raw content: equal content is seen, its plain digest is not."""
        return self._keyed("content", data)

    def of(self, dataset: str) -> "KeyRing":
        """The sub-keys of the same root key for another dataset."""
        return replace(self, dataset=dataset)

    def suppression_key(self) -> bytes:
        """The sub-key of the suppression list, 32 bytes: one for all datasets, since whoever withdraws leaves all."""
        return self.of("")._sub_key("suppressed")

    def seal(self, data: bytes) -> bytes:
        """``data`` under AES-256-GCM, a fresh nonce before it: what names people passes through others' memory, logs
        and spill files as this."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(self._sub_key("transport")).encrypt(nonce, data, None)

    def unseal(self, sealed: bytes) -> bytes:
        """What was sealed. Raises ``ConfigError`` where another key or dataset sealed it, or it was changed."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            return AESGCM(self._sub_key("transport")).decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], None)
        except (InvalidTag, ValueError):
            raise ConfigError(
                "a worker's root key is not the one of the process that sent it work",
                hint="give every node the same root key",
            ) from None

    def _keyed(self, purpose: str, message: bytes) -> str:
        """Hex HMAC-SHA256 of ``message`` under the sub-key of this dataset and ``purpose``."""
        return hmac.new(self._sub_key(purpose), message, sha256).hexdigest()

    def _sub_key(self, purpose: str) -> bytes:
        """32 bytes for one use in this dataset."""
        return hkdf(self._root, b"\x00".join((CONTEXT.encode(), self.dataset.encode(), purpose.encode())))


def person_token(suppression_key: bytes, subject: str) -> str:
    """64 hex characters by which a suppression list knows ``subject``; they cannot be led back without the key."""
    return hmac.new(suppression_key, subject.encode(), sha256).hexdigest()


def _read_root(config: KeysConfig) -> bytes:
    if config.source == "demo":
        return DEMO_ROOT_KEY
    if config.source == "environment":
        text, where = os.environ.get(config.variable, ""), f"the environment variable {config.variable}"
    else:
        text, where = _read_file(config.path), f"the key file {config.path}"
    if not text.strip():
        raise ConfigError(f"there is no root key: {where} is empty or not set", hint=HOW_TO_MAKE)
    return _decode(text.strip(), where)


def _read_file(path: str | None) -> str:
    if not path:
        raise ConfigError(
            "keys.source is 'file' but keys.path is not set", hint="name the file that holds the root key"
        )
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the key file {path} cannot be read: {type(error).__name__}", hint=HOW_TO_MAKE) from None


def _decode(text: str, where: str) -> bytes:
    """Hex or base64 to bytes; a short or patterned key is refused. The text itself is never shown."""
    try:
        root = bytes.fromhex(text)
    except ValueError:
        try:
            root = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise ConfigError(f"{where} holds neither hex nor base64", hint=HOW_TO_MAKE) from None
    if len(root) < MINIMUM_BYTES:
        raise ConfigError(f"{where} holds {len(root)} bytes, {MINIMUM_BYTES} are needed", hint=HOW_TO_MAKE)
    if len(set(root)) < MINIMUM_BYTES // 4:
        raise ConfigError(f"{where} holds a pattern, not a random key", hint=HOW_TO_MAKE)
    return root
