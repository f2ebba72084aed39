"""The placeholders of task templates, and what they stand for in one annotation."""

import re
from collections.abc import Sequence
from functools import lru_cache

from deemo_dist.records import Annotation, NfblEvent

FIELD = re.compile(r"\{([^{}]*)\}")


@lru_cache(maxsize=1024)
def names_in(template: str) -> tuple[str, ...]:
    """The names of a template's placeholders, in their order."""
    return tuple(FIELD.findall(template))


def fill(template: str, annotation: Annotation) -> str | None:
    """A template with its placeholders filled in; None when a value is missing or empty."""
    names = names_in(template)
    if not names:
        return template
    values = {name: _value(name, annotation) for name in names}
    if any(not value for value in values.values()):
        return None
    return FIELD.sub(lambda match: values[match.group(1)] or "", template)


def fill_prompt(template: str, annotation: Annotation, *, text: bool) -> tuple[str, bool]:
    """A prompt filled in, and whether it shows anything of the text modality.

    Its lines are the unit of what can be absent: a line whose value is missing is left out, and so is one of the text
    modality (``{transcript}``, ``{nfbl}``, ``{text.NAME}``) where ``text`` is not shown.
    """
    kept: list[str] = []
    uses_text = False
    for line in template.split("\n"):
        textual = any(is_textual(name) for name in names_in(line))
        filled = fill(line, annotation)
        if filled is None or (textual and not text):
            continue
        kept.append(filled)
        uses_text = uses_text or textual
    return "\n".join(kept), uses_text


def is_textual(name: str) -> bool:
    """Whether a placeholder belongs to the text modality."""
    return name in ("transcript", "nfbl") or name.startswith("text.")


def nfbl_sequence(events: Sequence[NfblEvent]) -> str:
    """The types of events in the order of their times."""
    return ", ".join(event.type for event in sorted(events, key=lambda event: (event.start, event.end)))


def _value(name: str, annotation: Annotation) -> str | None:
    """What a placeholder stands for."""
    kind, _, rest = name.partition(".")
    if kind == "label":
        return annotation.labels.get(rest)
    if kind == "text":
        return annotation.texts.get(rest)
    if kind == "transcript":
        return annotation.transcript
    return nfbl_sequence(annotation.nfbl)
