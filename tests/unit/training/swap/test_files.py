"""Tensors through real files: every byte, every failure."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from deemo_dist.training.swap import files as direct
from deemo_dist.training.swap.files import ALIGNED, DirectFiles


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """No file of this process grows beyond: the kernel then refuses a write as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def files() -> Iterator[DirectFiles]:
    made = DirectFiles()
    yield made
    made.close()


@pytest.mark.parametrize("folder", ["disk", "memory"])
def test_what_is_written_is_read_in_pieces_and_together(
    tmp_path: Path, files: DirectFiles, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    monkeypatch.setattr(direct, "CHUNK", 2 * ALIGNED)
    where = tmp_path if folder == "disk" else Path("/dev/shm") / tmp_path.name
    where.mkdir(exist_ok=True)
    sent = [files.new_cpu_locked_tensor(5 * ALIGNED, torch.zeros(1)).normal_() for _ in range(3)]
    for number, tensor in enumerate(sent):
        assert files.async_pwrite(tensor, str(where / str(number)), 0) == 0
    assert files.wait() == 3
    back = [torch.zeros_like(tensor) for tensor in sent]  # memory of any alignment would do
    held = [files.new_cpu_locked_tensor(5 * ALIGNED, torch.zeros(1)) for _ in range(3)]
    for number, tensor in enumerate(held):
        files.async_pread(tensor, str(where / str(number)), 0)
    assert files.wait() == 3
    for one, other, copy in zip(sent, held, back, strict=True):
        copy.copy_(other)
        assert torch.equal(one, copy)
    for number in range(3):
        (where / str(number)).unlink()


def test_only_memory_from_here_is_called_so(files: DirectFiles) -> None:
    held = files.new_cpu_locked_tensor(1024, torch.zeros(1))
    assert held.data_ptr() % ALIGNED == 0 and not held.any()
    assert files.is_pinned(held) and files.is_pinned(held[100:200]) and not files.is_pinned(torch.zeros(1024))
    assert files.free_cpu_locked_tensor(held) and not files.is_pinned(held)
    assert not files.free_cpu_locked_tensor(held)


def test_a_full_disk_a_short_file_and_a_missing_one_are_told(tmp_path: Path, files: DirectFiles) -> None:
    tensor = files.new_cpu_locked_tensor(2**20, torch.zeros(1))
    with files_up_to(2**20):
        files.async_pwrite(tensor, str(tmp_path / "full"), 0)
        with pytest.raises(OSError, match="too large"):
            files.wait()
    (tmp_path / "short").write_bytes(bytes(ALIGNED))
    for name, told in (("short", "ends before byte"), ("missing", "No such file")):
        files.async_pread(tensor, str(tmp_path / name), 0)
        with pytest.raises(OSError, match=told):
            files.wait()
    assert files.wait() == 0
