"""The ranks of this job: joined once a process, with the few collectives that the loop needs."""

import atexit
import json
import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist

from deemo_dist.config import EngineConfig
from deemo_dist.environ import Placement, gpus, placement
from deemo_dist.errors import CheckpointError, DeemoError, TrainingError
from deemo_dist.imports import without
from deemo_dist.training.checkpoint.commit import take_attempt
from deemo_dist.training.progress import Progress

if TYPE_CHECKING:
    from deemo_dist.storage import Store

T = TypeVar("T")
MEET_SECONDS = 1.0
"""From one meeting to the next of ranks that wait for each other's work."""


class Ranks:
    """This process among its peers. Every method but the properties is a collective, called by all in one order.

    ``progress``: how far this rank's main thread is.
    """

    def __init__(self, place: Placement, device: torch.device) -> None:
        self.placement = place
        self.device = device
        self.progress = Progress()
        self.attempts: dict[tuple[str, str], int] = {}

    @property
    def rank(self) -> int:
        """This rank, from 0."""
        return self.placement.rank

    @property
    def world(self) -> int:
        """How many ranks there are."""
        return self.placement.world

    def sums(self, values: Sequence[float]) -> list[float]:
        """Element-wise float64 sums over ranks: the same bits on every rank."""
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.world > 1:
            dist.all_reduce(tensor)
        return [float(value) for value in tensor.tolist()]

    def all_agree(self, yes: bool) -> bool:
        """Whether every rank says yes."""
        return self.sums([0.0 if yes else 1.0])[0] == 0.0

    def finish(self, job: Future[Any] | None) -> None:
        """Wait until the job of every rank (None: it has none) has ended, well or badly. The ranks meet every second
        meanwhile: a collective has a time limit, a job has none."""
        ended = False
        with self.progress.waits():
            while not ended:
                wait([job] if job else [], timeout=MEET_SECONDS)
                ended = self.all_agree(job is None or job.done())
        self.progress.on()

    def apart(self, work: Callable[[], T]) -> "Future[T]":
        """Do ``work`` on another thread while the ranks meet: it may take longer than a collective may. The job, ended
        well or badly. Work that goes on in steps tells ``progress`` of them (``tick``)."""
        with ThreadPoolExecutor(1, thread_name_prefix="apart") as pool:
            job = pool.submit(work)
            self.finish(job)
        return job

    def decided_by_first(self, decide: Callable[[], Any]) -> Any:
        """What ``decide`` gives on rank 0 (plain data), on every rank; its ``DeemoError`` is raised on every rank."""
        answer: dict[str, Any] = {}
        error: DeemoError | None = None
        if self.rank == 0:
            try:
                answer = {"value": decide()}
            except DeemoError as found:
                error = found
                answer = {"message": found.message, "hint": found.hint}
        self.progress.on()
        with self.progress.waits():
            answer = self.from_first(answer)
        if "message" in answer:
            raise error or CheckpointError(answer["message"], hint=answer["hint"])
        return answer["value"]

    def from_first(self, value: Any) -> Any:
        """Rank 0's plain value on every rank, sent as JSON (never a pickle)."""
        if self.world == 1:
            return value
        data = json.dumps(value).encode() if self.rank == 0 else b""
        size = int(self.sums([float(len(data))])[0])
        buffer = torch.zeros(size, dtype=torch.uint8, device=self.device)
        if self.rank == 0:
            buffer.copy_(torch.frombuffer(bytearray(data), dtype=torch.uint8))
        dist.broadcast(buffer, src=0)
        return json.loads(bytes(buffer.cpu().tolist()))


_joined: Ranks | None = None


def join(config: EngineConfig) -> Ranks:
    """Join the ranks named by the environment; again in the same process: the same object.

    Sets torch's threads, seeds nothing. gloo on a CPU, NCCL on GPUs; ``config.timeout_seconds`` bounds a collective.
    """
    global _joined
    if _joined is None:
        place = placement()
        torch.set_num_threads(max(1, config.threads))
        device = _device(place)
        os.environ.update(place.variables())
        _init_distributed(place, device, config.timeout_seconds)
        _joined = Ranks(place, device)
        atexit.register(leave)
    return _joined


def leave(*, failed: bool = False) -> None:
    """Leave the process group; without it an exit race can abort a run that succeeded. Again: nothing.

    ``failed``: this rank alone gives up. NCCL's leaving would wait for ranks that are inside a collective, and neither
    would the error be told nor the others end (torchtitan, pull request 1342): on GPUs the process's end ends it.
    """
    global _joined
    on_gpu = _joined is not None and _joined.device.type != "cpu"
    _joined = None
    if failed and on_gpu:
        atexit.unregister(leave)
    elif dist.is_initialized():
        dist.destroy_process_group()


def attempt_of(ranks: Ranks, store: "Store", run_prefix: str) -> int:
    """This life's attempt number in a run: taken once a process by rank 0, the same on every rank. A collective."""
    name = (store.root, run_prefix)
    if name not in ranks.attempts:
        taken = ranks.decided_by_first(lambda: take_attempt(store, run_prefix, world=ranks.world))
        ranks.attempts[name] = int(taken)
    return ranks.attempts[name]


def _device(place: Placement) -> torch.device:
    """The rank's own GPU; a CPU where there is none, or none is wanted. Raises ``TrainingError`` for more ranks on a
    host than it has GPUs."""
    found = gpus()
    if not found:
        os.environ["DS_ACCELERATOR"] = "cpu"
        return torch.device("cpu")
    if place.local_rank >= found:
        raise TrainingError(
            f"rank {place.rank} has no GPU: this host has {found}, and more ranks",
            hint=f"engine.ranks={found} (launch.ranks_per_node on a cluster), or DS_ACCELERATOR=cpu for none",
        )
    torch.cuda.set_device(place.local_rank)
    return torch.device("cuda", place.local_rank)


def _init_distributed(place: Placement, device: torch.device, seconds: float) -> None:
    """DeepSpeed's communication over torch's; its shared-memory kernel would be compiled at first use, so it is off."""
    deepspeed = import_deepspeed()
    if device.type == "cpu":
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    backend = "gloo" if device.type == "cpu" else "nccl"
    if place.launcher == "single":
        # a lone rank meets nobody: a free port keeps two single runs on one host apart
        os.environ["MASTER_PORT"] = str(_free_port())
    deepspeed.init_distributed(
        dist_backend=backend, auto_mpi_discovery=False, verbose=False, timeout=timedelta(seconds=seconds)
    )


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def import_deepspeed() -> Any:
    """DeepSpeed, imported once, quietly, and without what takes seconds and serves nothing here: MLflow (only its
    autotuner would use it) and the compiler, which its Muon optimizer calls on import, merely to compare types."""
    with without("mlflow"), _uncompiled():
        logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
        os.environ.setdefault("DS_LOG_LEVEL", "warning")
        import deepspeed
        import deepspeed.runtime.zero.muon.muon_optimizer
    from deepspeed.utils import logger as deepspeed_logger

    deepspeed_logger.setLevel(logging.WARNING)
    # one line for every collective of every step otherwise
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"torch\.distributed")
    return deepspeed


@contextmanager
def _uncompiled() -> Iterator[None]:
    """Make ``torch.compile`` hand back what it is given, for a while."""

    def leave_alone(function: Any = None, **_: Any) -> Any:
        return function if function is not None else leave_alone

    compiler = torch.compile
    torch.compile = leave_alone  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.compile = compiler
