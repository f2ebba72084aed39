"""What an earlier scrubbing left in pieces: findings that a placeholder stands in, and what is beside one that stands
for the rest of a number or an address."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

Place = tuple[int, int]
FEWEST = 3  # digits
NEAR = 80  # signs: as far as a number or an address reaches from what was taken out of it
_BEFORE, _AFTER = re.compile(r"[\d\s.()/-]+$"), re.compile(r"[A-Za-z]{0,3}[\d\s.()/-]+")
_MAILBOX = re.compile(r"[\w.+-]+@$")


def remainders(text: str, found: Place, places: Sequence[Place]) -> Iterator[Place]:
    """What of a finding lies outside the placeholders at ``places`` (ascending), from its first letter or digit to its
    last; itself where none stands in it."""
    start, end = found
    inside = [place for place in places if place[0] < end and start < place[1]]
    if not inside:
        yield found
        return
    for (_, low), (high, _) in pairwise([(start, start), *inside, (end, end)]):
        signs = [place for place in range(low, high) if text[place].isalnum()]
        if signs:
            yield signs[0], signs[-1] + 1


def digits_beside(text: str, places: Sequence[Place]) -> Iterator[Place]:
    """Rows of digits right beside placeholders of numbers: the rest of what was taken out."""
    for start, end in places:
        first = max(0, start - NEAR)
        before, after = _BEFORE.search(text[first:start]), _AFTER.match(text[end : end + NEAR])
        sides = [(first + before.start(), start)] if before else []
        sides += [(end, end + after.end())] if after else []
        for low, high in sides:
            digits = [place for place in range(low, high) if text[place].isdigit()]
            if len(digits) >= FEWEST:
                yield digits[0], digits[-1] + 1


def mailboxes(text: str, places: Sequence[Place]) -> Iterator[Place]:
    """What stands before an @ whose other side was taken out."""
    for start, _ in places:
        first = max(0, start - NEAR)
        if found := _MAILBOX.search(text[first:start]):
            yield first + found.start(), start
