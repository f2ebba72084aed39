"""The inner loop of mixing, compiled: whose turn it is, so that no prefix strays from its share by as much as one.

The j-th draw of a source with share p may come at the first place t with p t > j - 1 and must come by the first with
p t >= j; the earliest deadline goes first. Such a schedule exists for any shares (Tijdeman, "The chairman assignment
problem", 1980), and the earliest deadline finds one where there is one. Whole numbers only: no rounding adds up.
"""

import numpy as np

from deemo_dist.dataset.bins import compiled


@compiled
def prefix_counts(draws: np.ndarray, places: np.ndarray) -> np.ndarray:
    """How many draws of each source stand before each of ``places``.

    ``draws``: int64 [K], how many each source gives in all, 1 at least; ``places``: int64 [P], ascending, from 0 to
    their sum. Returns int64 [P, K]; each row sums to its place.
    """
    sources, total = len(draws), draws.sum()
    counts, ahead = np.zeros(sources, np.int64), np.zeros(sources, np.int64)  # ahead: draws * place - total * count
    found, row = np.zeros((len(places), sources), np.int64), 0
    while row < len(places) and places[row] == 0:
        row += 1
    place = 0
    while row < len(places):
        place += 1
        turn, soonest = -1, 0
        for source in range(sources):
            ahead[source] += draws[source]
            if ahead[source] > 0:
                left = (total - ahead[source] + draws[source] - 1) // draws[source]
                if turn < 0 or left < soonest:
                    turn, soonest = source, left
        counts[turn] += 1
        ahead[turn] -= total
        while row < len(places) and places[row] == place:
            found[row] = counts
            row += 1
    return found
