"""What an earlier scrubbing left in pieces: findings that a placeholder stands in, and what is beside one that stands
for the rest of a number or an address."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

Span = tuple[int, int, str]
Place = tuple[int, int]
FEWEST = 3  # digits
_SIGNS = r"[\s.()/-]*"
_BEFORE, _AFTER = re.compile(rf"(?:\d+{_SIGNS})+$"), re.compile(rf"[A-Za-z]{{0,3}}(?:{_SIGNS}\d+)+")
_MAILBOX = re.compile(r"[\w.+-]+@$")


def remainders(text: str, span: Span, places: Sequence[Place]) -> Iterator[Span]:
    """What of a finding lies outside the placeholders at ``places`` (ascending), from its first letter or digit to its
    last; itself where none stands in it."""
    start, end, kind = span
    inside = [place for place in places if place[0] < end and start < place[1]]
    if not inside:
        yield span
        return
    for (_, low), (high, _) in pairwise([(start, start), *inside, (end, end)]):
        signs = [place for place in range(low, high) if text[place].isalnum()]
        if signs:
            yield signs[0], signs[-1] + 1, kind


def digits_beside(text: str, places: Sequence[Place]) -> Iterator[Span]:
    """Rows of digits right beside placeholders of numbers: the rest of what was taken out."""
    for start, end in places:
        before, after = _BEFORE.search(text[:start]), _AFTER.match(text[end:])
        sides = [(before.start(), start)] if before else []
        sides += [(end, end + after.end())] if after else []
        for low, high in sides:
            digits = [place for place in range(low, high) if text[place].isdigit()]
            if len(digits) >= FEWEST:
                yield digits[0], digits[-1] + 1, "NUMBER"


def mailboxes(text: str, places: Sequence[Place]) -> Iterator[Span]:
    """What stands before an @ whose other side was taken out."""
    for start, _ in places:
        if found := _MAILBOX.search(text[:start]):
            yield found.start(), start, "EMAIL"
