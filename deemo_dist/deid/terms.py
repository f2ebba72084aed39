"""What is released as it stands: sources, subgroups, labels, names of texts, types of events. Terms of closed sets, in
which nobody may be named; free text is scrubbed instead."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from deemo_dist.errors import DatasetError
from deemo_dist.records import Clip

LONGEST = 80
LONGEST_NAME = 8
_WORD = re.compile(r"[^\W_]+")


def refuse_names(clips: Sequence[Clip]) -> None:
    """Raise ``DatasetError`` where a term of the manifest holds a subject's name, a file's, or is no term.

    A name is found as its words in their order, whatever stands between them and whatever their case. One of a single
    word may still be a label or a type of event (Joy): in sources and subgroups it is refused. The message gives field
    and row, and never the name.
    """
    people = {words for clip in clips for words in map(_words, (clip.subject, *_stems(clip.uri))) if len(words) > 1}
    single = {words for clip in clips if len(words := _words(clip.subject)) == 1 and words[0].isalpha()}
    known: dict[tuple[str, str], str | None] = {}
    for number, clip in enumerate(clips, 1):
        for field, term in _terms(clip):
            if (field, term) not in known:
                names = people | single if field in ("source", "subgroup") else people
                known[field, term] = _fault(term, names)
            if fault := known[field, term]:
                raise DatasetError(
                    f"row {number} of the manifest: its '{field}' {fault}, and is released as it stands",
                    hint="write terms of a closed set there, and ingest the clips again",
                )


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


def _fault(term: str, names: set[tuple[str, ...]]) -> str | None:
    if len(term) > LONGEST:
        return f"is longer than {LONGEST} characters"
    if "://" in term or not term.isprintable():
        return "is no term"
    words = _words(term)
    spans = (words[a:b] for a in range(len(words)) for b in range(a + 1, min(len(words), a + LONGEST_NAME) + 1))
    return "names a subject or a file" if any(span in names for span in spans) else None


def _words(text: str) -> tuple[str, ...]:
    """The words of a text without case and accents, however those are encoded."""
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return tuple(_WORD.findall(plain.casefold()))


def _stems(uri: str) -> set[str]:
    """A file's name without its ending, as it stands and as it is read where signs of it are escaped (%20)."""
    stem = uri.rsplit("/", 1)[-1].rpartition(".")[0]
    return {stem, unquote(stem)}
