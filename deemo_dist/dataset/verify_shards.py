"""A shard against its receipt: its size, its bytes, every member, and what each sample says of itself."""

import io
import tarfile
from collections.abc import Iterator

from deemo_dist.dataset.codec import from_plain, parse_json
from deemo_dist.dataset.door import Door
from deemo_dist.dataset.layout import shard_key
from deemo_dist.digests import canonical_json
from deemo_dist.errors import CorruptDataError, DeemoError, NotFoundError
from deemo_dist.records import Attestation, IndexRow, Member, Receipt

SAID = ("key", "frames", "fps", "width", "height", "audio_seconds", "subject_key", "source", "split", "subgroup")
"""What a sample's JSON says in the index row's own words."""


def shard_problems(store: Door, prefix: str, receipt: Receipt, *, deep: bool) -> list[str]:
    """What is wrong with a receipt's shard: its size is looked at always, its bytes and members when ``deep``."""
    if receipt.tar is None:
        return [f"unit {receipt.unit} has samples but no shard"] if receipt.index else []
    key = shard_key(prefix, receipt.tar.name)
    strays = [row.key for row in receipt.index if (row.shard, row.unit) != (receipt.tar.name, receipt.unit)]
    problems = [f"{key}: its receipt has {name} in another shard or unit" for name in strays]
    try:
        size = store.size(key)
        if size != receipt.tar.size:
            problems.append(f"{key}: {size} bytes instead of {receipt.tar.size}")
        elif deep:
            problems += _deep_problems(key, store.get(key), receipt)
    except NotFoundError:
        problems.append(f"{key} is missing")
    except DeemoError as error:
        problems.append(f"{key}: {error}")
    return problems


def _deep_problems(key: str, data: bytes, receipt: Receipt) -> list[str]:
    """Every member where and what the receipt says, and no other; the sample's own JSON as its row."""
    assert receipt.tar is not None
    problems = [] if receipt.tar.holds(data) else [f"{key}: its bytes do not have the receipt's digest"]
    expected = {f"{row.key}.{member.extension}": member for row in receipt.index for member in row.members}
    found = _members(data)
    if found is None:
        return [*problems, f"{key}: not a readable tar"]
    wrong = sorted(
        name for name in expected.keys() | found.keys() if not _same(expected.get(name), found.get(name), data)
    )
    problems += [f"{key}: member {name} is not what the index says" for name in wrong]
    if not problems:
        problems = [f"{key}: {row.key} {fault}" for row in receipt.index for fault in _json_faults(row, data)]
    return problems


def _members(data: bytes) -> dict[str, tuple[int, int]] | None:
    """Offset and size of every member, as an independent reader (tarfile) sees them."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as tar:
            return {member.name: (member.offset_data, member.size) for member in tar}
    except tarfile.TarError:
        return None


def _same(member: Member | None, found: tuple[int, int] | None, data: bytes) -> bool:
    """Whether a member of the index is where and what it says in the tar's ``data``."""
    if member is None or (member.offset, member.size) != found:
        return False
    return member.holds(memoryview(data)[member.offset : member.offset + member.size])


def _json_faults(row: IndexRow, data: bytes) -> Iterator[str]:
    """What is wrong with a sample's own JSON, if anything."""
    member = next((member for member in row.members if member.extension == "json"), None)
    if member is None:
        yield "has no json"
        return
    try:
        meta = parse_json(data[member.offset : member.offset + member.size], row.key)
        attestation = from_plain(Attestation, meta.get("attestation"), row.key)
    except CorruptDataError as error:
        yield str(error)
        return
    other = [name for name in SAID if meta.get(name) != getattr(row, name)]
    other += ["transcript"] * (len(meta.get("transcript") or "") != row.characters)
    other += ["attestation"] * (canonical_json(attestation) != canonical_json(row.attestation))
    if other:
        yield f"says another {', '.join(other)} than its index row"
