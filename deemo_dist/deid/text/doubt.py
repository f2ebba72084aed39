"""Words that may be a name which Whisper does not know: it hears other words then, which no list has as names.

A name mostly becomes several words ("Ilsa Mnikathi": Elsa and the cathe), of which Whisper doubts some and believes
others. So doubt spreads: to a neighbour that is not quite sure either, and to little between two words that are taken
out. Words that the second ear has otherwise are doubted more. Measured over names unknown to both, without a
transcript (``make bench BENCH=pii`` has today's figures): of those muted whole a second ear and the names that it hears
made .91 out of .84 beside Whisper tiny, for which .14 of all other words were muted instead of .12. What Whisper makes
of the same sound played faster or slower, its doubt of single syllables, what the second ear thinks of the first one's
words and fitted weightings of all of these made no better exchange.
"""

from collections.abc import Callable, Collection, Sequence
from itertools import pairwise

from deemo_dist.deid.text.asr import HeardWord

UNSURE, DOUBTED = 0.15, 0.5
NOT_QUITE = 0.8
OTHERWISE = 0.9  # of its probability keeps a word that the second ear has otherwise
NEAR = 0.6  # seconds between two words that can be one name
BETWEEN = 2  # words


def doubtful(
    words: Sequence[HeardWord],
    named: Collection[int],
    asked: Collection[int],
    is_smallest: Callable[[str], bool],
    otherwise: Collection[int] = (),
) -> set[int]:
    """The numbers of the words to be muted for doubt. ``named``: numbers of those that are names; ``asked``: of those
    that may be doubted at all; ``otherwise``: of those that the second ear does not have."""
    sure = [word.probability * (OTHERWISE if at in otherwise else 1) for at, word in enumerate(words)]
    muted = {number for number in asked if _is_doubted(words, sure, number, is_smallest)} | set(named)
    while near := {number for number in asked if number not in muted and _is_beside(words, sure, number, muted)}:
        muted |= near
    between = {
        number for one, other in pairwise(sorted(muted)) if other - one <= BETWEEN + 1 for number in range(one, other)
    }
    return muted | between.intersection(asked)


def _is_doubted(
    words: Sequence[HeardWord], sure: Sequence[float], number: int, is_smallest: Callable[[str], bool]
) -> bool:
    """Doubted a lot, or somewhat and one beside another or none of the smallest."""
    near = [other for other in (number - 1, number + 1) if 0 <= other < len(words)]
    somewhat = any(sure[other] < DOUBTED for other in near)
    somewhat = somewhat or not is_smallest(words[number].text.lower().strip(".,!?;:-"))
    return sure[number] < (DOUBTED if somewhat else UNSURE)


def _is_beside(words: Sequence[HeardWord], sure: Sequence[float], number: int, muted: Collection[int]) -> bool:
    """Whether a word that is not quite sure follows or precedes one of ``muted`` closely."""
    word = words[number]
    before = number - 1 in muted and word.start - words[number - 1].end < NEAR
    after = number + 1 in muted and words[number + 1].start - word.end < NEAR
    return sure[number] < NOT_QUITE and (before or after)
