"""Traces of chosen steps, for chrome://tracing, Perfetto or TensorBoard."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from deemo_dist.console import logger


@contextmanager
def profiled(step: int, *, steps: Sequence[int], folder: str, stage: str, rank: int) -> Iterator[None]:
    """Trace what is done inside when ``step`` is one of ``steps``: operators with their shapes, and kernels beside a
    GPU, as gzipped JSON in ``folder`` on this machine. Other steps cost nothing. A folder that cannot be written is
    said in the log and costs only the trace."""
    if step not in steps:
        yield
        return
    import torch
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if torch.cuda.is_available() else [])]
    with profile(activities=activities, record_shapes=True, acc_events=True) as trace:
        yield
    path = Path(folder) / f"{stage}-step-{step:06d}-rank-{rank:05d}.json.gz"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        trace.export_chrome_trace(str(path))
    except OSError as error:
        logger.warning("no trace of step %d: %s cannot be written (%s)", step, path, error.strerror)
    else:
        logger.info("trace of step %d: %s", step, path)
