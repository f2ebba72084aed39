"""Erasures as tests ask for them, over a made dataset."""

from collections.abc import Callable
from typing import Any

from deemo_dist.config import RunConfig
from pipelines.erasure.erase import run_erase
from pipelines.erasure.receipt import ErasureReceipt
from tests.made import PEOPLE, clips_of

CLIPS = clips_of()
ZORA, ADA, BO = PEOPLE


def erase(config: RunConfig, who: str = ZORA, **how: Any) -> ErasureReceipt:
    """Erase one of the made people; the receipt."""
    return run_erase(config, **{"subject": who, "subject_key": None, "manifest": None, **how})[1]


def at(step: str, deed: Callable[[], object]) -> Callable[[str], object]:
    """For ``after``: do something once ``step`` is done."""
    return lambda done: deed() if done == step else None
