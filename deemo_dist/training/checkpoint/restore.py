"""Reading checkpoints: the newest valid one, sliced for this rank; or whole tensors without any engine."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import torch

from deemo_dist.console import logger
from deemo_dist.digests import sha256_bytes
from deemo_dist.errors import CheckpointError, CorruptDataError, DeemoError, NotFoundError
from deemo_dist.training.checkpoint.buffers import MakeBuffer, floats, let_go
from deemo_dist.training.checkpoint.commit import commit_keys, finished, read_commit, step_of
from deemo_dist.training.checkpoint.layout import (
    KINDS,
    Commit,
    Fragment,
    PartFile,
    RankReceipt,
    ReceiptRef,
    commit_from_json,
    overlap,
    receipt_from_json,
)
from deemo_dist.training.checkpoint.snapshot import LocalFragment, in_turn

if TYPE_CHECKING:
    from deemo_dist.storage import Store
    from deemo_dist.training.ranks import Ranks

Staged = dict[str, dict[str, torch.Tensor]]


class NoneWholeError(CheckpointError):
    """There are checkpoints to look at, and each is damaged or half-written."""


def restore(
    locals_: Sequence[LocalFragment],
    store: "Store",
    prefix: str,
    stage_key: str,
    ranks: "Ranks",
    *,
    wanted: Callable[[int], bool] | None = None,
    applied: bool = False,
    make: MakeBuffer = bytearray,
) -> tuple[str, Commit] | None:
    """Set this rank's fragments from the newest commit that every rank finds whole. A collective.

    ``wanted``: only commits after such numbers of steps are looked at; ``applied``: only those whose last update was;
    ``make`` gives the buffer of what is read until it is found whole. Corrupt or half-written ones are skipped with a
    message. Returns the commit's key and record, None when there is none to look at. Raises ``NoneWholeError`` where
    there are but none is whole; ``CheckpointError`` for another stage key; storage's own errors.
    """
    keys: list[str] = ranks.decided_by_first(lambda: _keys_of(store, prefix, wanted, applied))
    for key in keys:
        commit, staged, reason = _try(locals_, store, key, stage_key, ranks, make)
        if ranks.all_agree(not reason):
            assert commit is not None
            _apply(locals_, staged)
            return key, commit
        logger.warning("the checkpoint %s is skipped: %s", key, reason or "another rank cannot read it")
    if keys:
        raise NoneWholeError(
            f"none of the {len(keys)} checkpoints under {prefix} is whole",
            hint=f"remove {prefix}/commits to start the stage anew",
        )
    return None


def _keys_of(store: "Store", prefix: str, wanted: Callable[[int], bool] | None, applied: bool) -> list[str]:
    keys = [key for key in commit_keys(store, prefix) if wanted is None or wanted(step_of(key))]
    return [key for key in keys if not _ends_a_row(store, key)] if applied else keys


def _ends_a_row(store: "Store", key: str) -> bool:
    """Whether a commit was made in a row of left-out updates: its weights may be what is at fault."""
    try:
        return int(commit_from_json(store.get(key), key).state.get("skipped_in_a_row", 0)) > 0
    except (CorruptDataError, NotFoundError):
        return False  # it is skipped with a message when it is read


def read_full_state(store: "Store", commit: Commit) -> dict[str, torch.Tensor]:
    """Whole float32 tensors of the trained parameters, by name, from a commit, without engine or ranks.

    Raises ``CorruptDataError`` when a file does not match its digest or an element is missing.
    """
    state: dict[str, torch.Tensor] = {}
    filled: dict[str, int] = {}
    for part, tensors in read_parts(store, commit, lambda pieces: bool(pieces)):
        for piece in part.fragments:
            flat = state.setdefault(piece.name, torch.empty(piece.shape, dtype=torch.float32)).view(-1)
            flat[piece.offset : piece.offset + piece.numel] = tensors[f"{piece.name}/fp32"]
            filled[piece.name] = filled.get(piece.name, 0) + piece.numel
    short = [name for name, tensor in state.items() if filled[name] != tensor.numel()]
    if short:
        raise CorruptDataError(f"the checkpoint at step {commit.step} lacks elements of {short[0]}")
    return state


def read_parts(
    store: "Store", commit: Commit, wanted: Callable[[Sequence[Fragment]], bool]
) -> Iterator[tuple[PartFile, dict[str, torch.Tensor]]]:
    """The files of a commit whose fragments are ``wanted``, with their tensors, one at a time. Raises
    ``CorruptDataError`` for one that does not match its digest."""
    for receipt in _receipts(store, commit):
        for part in receipt.parts:
            if wanted(part.fragments):
                yield part, _read_part(store, part)


def finished_whole(store: "Store", prefix: str, stage_key: str, ranks: "Ranks") -> tuple[str, Commit] | None:
    """``finished``, its files read to the last byte and found as they were committed: each rank reads a share of them.
    A collective. One that is not whole is said, and None: the stage goes on from an earlier commit."""

    def look() -> str | None:
        found = finished(store, prefix, stage_key)
        return found[0] if found else None

    key: str | None = ranks.decided_by_first(look)
    if key is None:
        return None
    commit, fault = None, ""
    fatal: DeemoError | None = None
    job = ranks.apart(partial(_read_share, store, key, stage_key, ranks))
    try:
        commit = job.result()
    except (CorruptDataError, NotFoundError) as error:
        fault = str(error)
    except DeemoError as error:
        fatal = error
    if not ranks.all_agree(fatal is None):
        raise fatal or CheckpointError(f"another rank could not read the checkpoint {key}")
    if ranks.all_agree(not fault):
        assert commit is not None
        return key, commit
    logger.warning(
        "%s is not done as it says, it is trained again from an earlier checkpoint: %s",
        prefix,
        fault or "another rank found it changed",
    )
    return None


def _read_share(store: "Store", key: str, stage_key: str, ranks: "Ranks") -> Commit:
    """Read a commit and the files of every so manieth receipt of it. Raises ``CorruptDataError`` or
    ``NotFoundError``."""
    commit = read_commit(store, key, stage_key)
    for ref in commit.receipts[ranks.rank :: ranks.world]:
        for part in _read_receipt(store, ref).parts:
            _verified(store, part)
            ranks.progress.tick()
    return commit


def _try(
    locals_: Sequence[LocalFragment], store: "Store", key: str, stage_key: str, ranks: "Ranks", make: MakeBuffer
) -> tuple[Commit | None, Staged, str]:
    """Read one checkpoint's share: the commit, the staged tensors, and why not (empty: all well). Any other failure
    is told to all ranks before it is raised, so that none waits for this one. The reading is another thread's, while
    the ranks meet: it may take longer than a collective may."""

    def read() -> tuple[Commit, Staged]:
        commit = read_commit(store, key, stage_key)
        return commit, _stage(locals_, store, commit, ranks.progress.tick, make)

    fatal: DeemoError | None = None
    result: tuple[Commit | None, Staged, str] = (None, {}, "")
    job = ranks.apart(read)
    try:
        result = (*job.result(), "")
    except (CorruptDataError, NotFoundError) as error:
        result = (None, {}, str(error))
    except DeemoError as error:
        fatal = error
    if not ranks.all_agree(fatal is None):
        raise fatal or CheckpointError(f"another rank could not read the checkpoint {key}")
    return result


def _stage(
    locals_: Sequence[LocalFragment], store: "Store", commit: Commit, tick: Callable[[], None], make: MakeBuffer
) -> Staged:
    """Collect this rank's ranges out of every file that meets them; ``tick`` after each."""
    wanted = {local.fragment.name: local.fragment for local in locals_ if local.fragment.numel}
    counts = [piece.numel for piece in wanted.values() for _ in KINDS]
    buffer = make(max(1, sum(counts)) * 4)
    views = iter(floats(buffer)[: sum(counts)].split(counts))
    staged = {name: {kind: next(views) for kind in KINDS} for name in wanted}
    missing = {name: piece.numel for name, piece in wanted.items()}
    for receipt in _receipts(store, commit):
        for part in receipt.parts:
            meets = [(piece, wanted[piece.name]) for piece in part.fragments if _meet(piece, wanted)]
            if meets:
                _copy(_read_part(store, part), meets, staged, missing)
                let_go(buffer)
            tick()
    lacking = [name for name, count in missing.items() if count]
    if lacking:
        raise CorruptDataError(f"elements of {len(lacking)} parameters are missing, first {lacking[0]}")
    return staged


def _meet(piece: Fragment, wanted: Mapping[str, Fragment]) -> bool:
    own = wanted.get(piece.name)
    if own is None:
        return False
    if own.shape != piece.shape:
        raise CheckpointError(f"{piece.name} has shape {piece.shape} in the checkpoint, {own.shape} in the model")
    return overlap(piece.offset, piece.numel, own.offset, own.numel)[1] > 0


def _copy(
    tensors: Mapping[str, torch.Tensor],
    meets: Sequence[tuple[Fragment, Fragment]],
    staged: Staged,
    missing: dict[str, int],
) -> None:
    for piece, own in meets:
        start, count = overlap(piece.offset, piece.numel, own.offset, own.numel)
        for kind in KINDS:
            source = tensors[f"{piece.name}/{kind}"][start - piece.offset :][:count]
            staged[own.name][kind][start - own.offset :][:count] = source
        missing[own.name] -= count


def _receipts(store: "Store", commit: Commit) -> Iterator[RankReceipt]:
    return (_read_receipt(store, ref) for ref in commit.receipts)


def _read_receipt(store: "Store", ref: ReceiptRef) -> RankReceipt:
    data = store.get(ref.key)
    if sha256_bytes(data) != ref.sha256:
        raise CorruptDataError(f"{ref.key} does not match its digest")
    return receipt_from_json(data, ref.key)


def _read_part(store: "Store", part: PartFile) -> dict[str, torch.Tensor]:
    """The tensors of a file, verified. Raises ``CorruptDataError``."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = _verified(store, part)
    try:
        return load(data)
    except SafetensorError as error:
        raise CorruptDataError(f"{part.key} is not a safetensors file: {error}") from error


def _verified(store: "Store", part: PartFile) -> bytes:
    """The bytes of a file, as they were committed."""
    data = store.get(part.key)
    if len(data) != part.size or sha256_bytes(data) != part.sha256:
        raise CorruptDataError(f"{part.key} does not match its digest (half-written or changed)")
    return data


def _apply(locals_: Sequence[LocalFragment], staged: Staged) -> None:
    for local in in_turn((each for each in locals_ if each.fragment.numel), write=True):
        for kind in KINDS:
            local.write(kind, staged[local.fragment.name][kind])
