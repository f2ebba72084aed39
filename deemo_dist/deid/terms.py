"""What is released as it stands: sources, subgroups, labels, names of texts, types of events. Terms of closed sets, in
which nobody may be named; free text is scrubbed instead."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import combinations, pairwise
from urllib.parse import unquote

from deemo_dist.deid.text.contacts import leads_to_somebody
from deemo_dist.deid.text.gazetteer import COMMON, EMOTIONS, gazetteer
from deemo_dist.deid.text.known import NOBODY, SHORTEST_JOINED, words_of_name
from deemo_dist.deid.text.vocabulary import counts
from deemo_dist.errors import DatasetError
from deemo_dist.records import Clip

LONGEST = 80
LONGEST_NAME = 8
SHORT_NUMBER = 3  # digits: a subject's number that may stand for anything
SHORTEST_STRANGE = 4  # letters of a file's name that is no word of English
MANY = 3  # people: what stands in the names or paths of so many names none of them
ORDINARY = 1_000_000
ENDINGS = frozenset(
    ("3gp", "avi", "flv", "gif", "m2ts", "m4v", "mkv", "mov", "mp4", "mpeg", "mpg", "mts", "ogv", "ts", "webm", "wmv")
)
_WORD = re.compile(r"[^\W_]+")
_PLAIN = dict(zip("øłđðħıØŁĐÐĦ", "olddhiOLDDH", strict=True)) | {
    "æ": "ae", "œ": "oe", "þ": "th", "ß": "ss", "Æ": "Ae", "Œ": "Oe", "Þ": "Th",
}  # fmt: skip
_IN_TWO = {
    "ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe", "Ä": "Ae", "Ö": "Oe", "Ü": "Ue", "Å": "Aa", "Ø": "Oe",
}  # fmt: skip
_SPELLINGS = (str.maketrans(_PLAIN), str.maketrans(_PLAIN | _IN_TWO))


def refuse_names(clips: Sequence[Clip]) -> None:
    """Raise ``DatasetError`` where a term of the manifest holds a subject's name, a file's or a folder's, an address or
    a number that leads to somebody, or is no term.

    A name is found as its words in their order, whatever stands between them and whatever their case; as two of its
    words side by side or written as one, in any order; and as one of them that is no ordinary word; letters beyond
    ASCII in their ASCII spellings, too (Møller, moller, moeller). A code of letters and digits (P0042) is a name. One
    of a single word may still be a label or a type of event (Joy), and one of four digits and more a value: in sources
    and subgroups they are refused. Of files and folders only what can be a person's name counts. The message gives
    field and row, and never the name.
    """
    names = _Names(clips)
    known: dict[tuple[str, str], str | None] = {}
    for number, clip in enumerate(clips, 1):
        for field, term in _terms(clip):
            if (field, term) not in known:
                known[field, term] = _fault(term, names, strict=field in ("source", "subgroup"))
            if fault := known[field, term]:
                raise DatasetError(
                    f"row {number} of the manifest: its '{field}' {fault}, and is released as it stands",
                    hint="write terms of a closed set there, and ingest the clips again",
                )


def telling_words(name: str) -> set[str]:
    """The words of a person's name that are no ordinary words, as they stand and without accents and case: each of them
    may tell who it is. Numbers are none, nor is what stands for anybody (speaker)."""
    written = {form for each in _WORD.findall(name) for form in (each, unicodedata.normalize("NFD", each))}
    return {word for word in {*written, *words_of_name(name)} if _is_telling(word)}


def _is_telling(word: str) -> bool:
    plain = "".join(_words(word))
    return len(plain) > 1 and plain.isalpha() and plain not in NOBODY and not _is_ordinary(plain)


def _is_ordinary(word: str) -> bool:
    frequent = counts().get(word, 0) >= ORDINARY and word not in _listed()
    return frequent or word in COMMON | EMOTIONS


@lru_cache(maxsize=1)
def _listed() -> frozenset[str]:
    lists = gazetteer()
    return frozenset(lists.sure | lists.likely)


def _terms(clip: Clip) -> Iterator[tuple[str, str]]:
    """Field and term of all that is released unscrubbed."""
    yield "source", clip.source
    for field in ("subgroup", "labels"):
        for name, value in getattr(clip, field).items():
            yield field, name
            yield field, value
    for name in clip.texts:
        yield "texts", name
    for event in clip.nfbl:
        yield "nfbl", event.type


def _fault(term: str, names: "_Names", *, strict: bool) -> str | None:
    if len(term) > LONGEST:
        return f"is longer than {LONGEST} characters"
    if "://" in term or not term.isprintable():
        return "is no term"
    if names.are_in(term, strict=strict):
        return "names a subject or a file"
    return "holds an address or a number that leads to somebody" if leads_to_somebody(term) else None


class _Names:
    """What names the people of a manifest: whole names word by word, and what of them tells by itself."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._listed = _listed()
        words = {
            _words(form) for clip in clips for text in (clip.subject, *_stems(clip.uri)) for form in _spelled(text)
        }
        self._whole = {each for each in words if len(each) > 1}
        single = {each for clip in clips for form in _spelled(clip.subject) if len(each := _words(form)) == 1}
        self._codes = {each for each in single if not each[0].isalpha() and not each[0].isdigit()}
        self._single = {each for each in single if not each[0].isdigit() or len(each[0]) > SHORT_NUMBER}
        subjects = {clip.subject for clip in clips}
        self._telling = self._of_subjects(subjects) | self._of_paths({(clip.uri, clip.subject) for clip in clips})

    def are_in(self, term: str, *, strict: bool) -> bool:
        """Whether one of the names is in ``term``; ``strict``: also one that is a single word of whatever kind."""
        return any(self._are_in(form, strict=strict) for form in _spelled(term))

    def _are_in(self, term: str, *, strict: bool) -> bool:
        words, names = _words(term), self._whole | (self._single if strict else self._codes)
        spans = (words[a:b] for a in range(len(words)) for b in range(a + 1, min(len(words), a + LONGEST_NAME) + 1))
        if any(span in names for span in spans):
            return True
        parts = words_of_name(term)
        rows = [*pairwise(parts), *((part,) for part in (*parts, *words))]
        return any(frozenset(row) in self._telling for row in rows)

    def _of_subjects(self, subjects: Iterable[str]) -> set[frozenset[str]]:
        """Of the subjects' names; what many of them share and no list of names has is a prefix (iemocap_03)."""
        shared: dict[frozenset[str], int] = defaultdict(int)
        for subject in subjects:
            for part in _parts_of(subject):
                shared[part] += 1
        return {
            part for part, people in shared.items() if self._tells(part) and (people < MANY or self._is_listed(part))
        }

    def _of_paths(self, rows: Collection[tuple[str, str]]) -> set[frozenset[str]]:
        """Of files and folders, what a list of names has, or what is all of a file's name and no word of English; what
        stands in the paths of many people names none of them."""
        strange = {stem for uri, _ in rows for stem in _stems(uri) if _is_strange(stem)}
        whole = {frozenset(_words(form)) for stem in strange for form in _spelled(stem)}
        people: dict[frozenset[str], set[str]] = defaultdict(set)
        for uri, subject in rows:
            for name in _path(uri):
                for part in _parts_of(name):
                    if len(people[part]) < MANY:
                        people[part].add(subject)
        few = {part for part, who in people.items() if len(who) < MANY}
        return {part for part in few if part in whole or self._is_listed(part)}

    def _tells(self, part: frozenset[str]) -> bool:
        return len(part) > 1 or not any(_is_ordinary(word) for word in part)

    def _is_listed(self, part: frozenset[str]) -> bool:
        """Whether a list of names has a word of it, or (written as one) two lists' words make it."""
        return any(word in self._listed or self._is_joined(word) for word in part)

    def _is_joined(self, word: str) -> bool:
        cuts = range(2, len(word) - 1)
        return any(word[:cut] in self._listed and word[cut:] in self._listed for cut in cuts)


def _is_strange(stem: str) -> bool:
    """Whether a file's name is one word of letters that English does not have."""
    words = _words(stem)
    return len(words) == 1 and words[0].isalpha() and len(words[0]) >= SHORTEST_STRANGE and words[0] not in counts()


@lru_cache(maxsize=10_000)
def _parts_of(name: str) -> tuple[frozenset[str], ...]:
    """What of a name can stand for it: each word but numbers and what stands for anybody, two in any order, and these
    or all written as one; in each spelling."""
    return tuple({part for form in _spelled(name) for part in _parts_as_written(form)})


def _parts_as_written(name: str) -> tuple[frozenset[str], ...]:
    words = tuple(word for word in words_of_name(name) if word not in NOBODY)[:LONGEST_NAME]
    pairs = list(combinations(words, 2))
    rows = [row for pair in (*pairs, words) if len(pair) > 1 for row in (pair, pair[::-1])]
    joined = {made for row in rows if len(made := "".join(row)) >= SHORTEST_JOINED}
    return (*(frozenset((word,)) for word in {*words, *joined}), *map(frozenset, pairs))


def _spelled(text: str) -> set[str]:
    """A text as it stands, and with its letters beyond ASCII as they are written where a keyboard has none of them."""
    if text.isascii():
        return {text}
    whole = unicodedata.normalize("NFC", text)
    return {text, *(whole.translate(letters) for letters in _SPELLINGS)}


def _words(text: str) -> tuple[str, ...]:
    """The words of a text without case and accents, however those are encoded."""
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return tuple(_WORD.findall(plain.casefold()))


def _path(uri: str) -> set[str]:
    """The names of a file and of the folders that it lies in."""
    *folders, _ = uri.rpartition("://")[-1].split("/")
    return {unquote(folder) for folder in folders if folder} | _stems(uri)


def _stems(uri: str) -> set[str]:
    """A file's name without a video's ending, as it stands and as it is read where signs of it are escaped (%20)."""
    name = uri.rsplit("/", 1)[-1]
    stem, _, ending = name.rpartition(".")
    stem = stem if ending.lower() in ENDINGS else name
    return {stem, unquote(stem)}
