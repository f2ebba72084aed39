"""Words that Whisper is not sure of: a name that it does not know is heard as such words, which no list has as names.

A name mostly becomes several words ("Ilsa Mnikathi": Elsa and the cathe), of which it doubts some and believes others.
So doubt spreads: to a neighbour that is not quite sure either, and to little between two words that are taken out.
Measured over names unknown to Whisper: of those muted whole without a transcript it makes .85 out of .69, for which .15
of all other words are muted instead of .09. What Whisper makes of the same sound played faster or slower, its doubt of
single syllables and a fitted weighting of all of these made no better exchange.
"""

from collections.abc import Callable, Collection, Sequence
from itertools import pairwise

from deemo_dist.deid.text.asr import HeardWord

UNSURE, DOUBTED, LITTLE = 0.3, 0.5, 0.7
NOT_QUITE = 0.8
NEAR = 0.6  # seconds between two words that can be one name
BETWEEN = 2  # words


def doubtful(
    words: Sequence[HeardWord], named: Collection[int], asked: Collection[int], is_smallest: Callable[[str], bool]
) -> set[int]:
    """The numbers of the words to be muted for doubt. ``named``: numbers of those that are names; ``asked``: of those
    that may be doubted at all."""
    muted = {number for number in asked if _is_doubted(words, number, named, is_smallest)} | set(named)
    while near := {number for number in asked if number not in muted and _is_beside(words, number, muted)}:
        muted |= near
    between = {
        number for one, other in pairwise(sorted(muted)) if other - one <= BETWEEN + 1 for number in range(one, other)
    }
    return muted | between.intersection(asked)


def _is_doubted(
    words: Sequence[HeardWord], number: int, named: Collection[int], is_smallest: Callable[[str], bool]
) -> bool:
    """Doubted a lot, or somewhat and one beside another or none of the smallest, or a little and beside a name."""
    word = words[number]
    near = [other for other in (number - 1, number + 1) if 0 <= other < len(words)]
    somewhat = any(words[other].probability < DOUBTED for other in near)
    somewhat = somewhat or not is_smallest(word.text.lower().strip(".,!?;:-"))
    beside = any(other in named for other in near)
    return word.probability < (LITTLE if beside else DOUBTED if somewhat else UNSURE)


def _is_beside(words: Sequence[HeardWord], number: int, muted: Collection[int]) -> bool:
    """Whether a word that is not quite sure follows or precedes one of ``muted`` closely."""
    word = words[number]
    before = number - 1 in muted and word.start - words[number - 1].end < NEAR
    after = number + 1 in muted and words[number + 1].start - word.end < NEAR
    return word.probability < NOT_QUITE and (before or after)
