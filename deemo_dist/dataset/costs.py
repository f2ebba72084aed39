"""What the work on a dataset cost, stage by stage: summed over its receipts, in no digest."""

from collections import Counter
from collections.abc import Iterable

from deemo_dist.records import Receipt

REJECTED = "rejected."


def total_costs(receipts: Iterable[Receipt]) -> dict[str, float]:
    """The receipts' figures summed (``seconds`` of workers, and ``seconds.STAGE``, ``cpu_seconds.STAGE``,
    ``bytes.STAGE``), ``clips``, and ``rejected.STAGE`` by the ledger. Reruns differ in them."""
    sums: Counter[str] = Counter()  # of floats, which add just as well
    for receipt in receipts:
        sums.update(costs_of(receipt))
    return rounded(sums)


def costs_of(receipt: Receipt) -> Counter[str]:
    """The figures of one receipt, to be summed."""
    sums: Counter[str] = Counter(receipt.statistics)
    sums["clips"] += len(receipt.ledger)
    sums.update(f"{REJECTED}{row.stage}" for row in receipt.ledger if row.status == "rejected")
    return sums


def rounded(sums: Counter[str]) -> dict[str, float]:
    """Sums by name, to the millisecond."""
    return {name: round(float(value), 3) for name, value in sorted(sums.items())}
