"""Where two ears do not agree: which words the second one has otherwise, and in whose place it heard a name."""

from collections.abc import Callable, Sequence

from deemo_dist.deid.text.align import aligned, heard_tokens, text_tokens
from deemo_dist.deid.text.asr import Again, HeardWord
from deemo_dist.deid.text.transcript import Span


def compared(
    words: Sequence[HeardWord], again: Sequence[Again], find: Callable[[list[str]], list[list[Span]]]
) -> tuple[frozenset[int], frozenset[int]]:
    """The numbers of the ``words`` that the second ear has otherwise, and of those in whose place it heard a name.

    ``find``: the spans of names in texts (the scrubber's).
    """
    otherwise, named = set[int](), set[int]()
    for passage, spans in zip(again, find([passage.text for passage in again]), strict=True):
        differing, names = _passage(words[passage.first : passage.last], passage.text, spans)
        otherwise |= {passage.first + number for number in differing}
        named |= {passage.first + number for number in names}
    return frozenset(otherwise), frozenset(named)


def _passage(words: Sequence[HeardWord], text: str, spans: Sequence[Span]) -> tuple[set[int], set[int]]:
    """The same of one passage: its ``words``, and ``text`` with the names in it."""
    owners = [number for number, word in enumerate(words) for _ in heard_tokens([word])]
    written = text_tokens(text)
    laid = aligned([token.key for token in written], [token.key for token in heard_tokens(words)])
    alike = {owners[place] for place in laid if place is not None}
    edges = [-1, *(place for place in laid if place is not None), len(owners)]
    named, reached = set[int](), 0
    for token, place in zip(written, laid, strict=True):
        reached += place is not None
        if any(start < token.end and token.start < end for start, end, _ in spans):
            places = _between(edges[reached], edges[reached + 1], len(owners)) if place is None else (place,)
            named |= {owners[each] for each in places}
    return {number for number in range(len(words)) if number not in alike}, named


def _between(before: int, after: int, count: int) -> Sequence[int]:
    """The places between two of ``count``; where there are none these two, over which the time of what was left out
    is spread."""
    return range(before + 1, after) or [each for each in (before, after) if 0 <= each < count]
