"""From annotations to conversations: task templates filled in, one example a sample and task.

A prompt's lines are the unit of what can be absent: a line that holds ``{transcript}``, ``{nfbl}`` or ``{text.NAME}``
belongs to the text modality, and is left out whole where the value is missing or the text modality is not shown.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from deemo_dist.config import TaskConfig
from deemo_dist.console import logger
from deemo_dist.dataset.opened import Dataset
from deemo_dist.digests import digest_of_rows
from deemo_dist.errors import ConfigError
from deemo_dist.records import Annotation, Example, IndexRow, Turn

MODALITIES = ("video", "audio", "cues", "text")
_FIELD = re.compile(r"\{([^{}]*)\}")


def build_examples(
    dataset: Dataset,
    tasks: Mapping[str, TaskConfig],
    task_names: Sequence[str],
    split: str,
    *,
    modalities: Sequence[str] | None = None,
) -> list[Example]:
    """Examples of ``split`` for the named tasks, in the index's order; ``modalities`` narrows what each task shows.

    A sample whose annotation lacks what an answer needs, or that has none of the modalities shown, makes no example
    for that task: counted and logged. Raises ``ConfigError`` for unknown tasks, placeholders or answers.
    """
    for name in task_names:
        _check_task(name, tasks)
    wanted = tuple(name for name in MODALITIES if modalities is None or name in modalities)
    left_out: Counter[str] = Counter()
    examples: list[Example] = []
    for row in dataset.split(split):
        annotation = dataset.annotations.get(row.key)
        for name in task_names:
            made = _example(row, annotation, name, tasks[name], wanted)
            if isinstance(made, Example):
                examples.append(made)
            else:
                left_out[f"{name}: {made}"] += 1
    for reason, count in sorted(left_out.items()):
        logger.info("%s: %d samples make no example for task %s", split, count, reason)
    return examples


def _example(
    row: IndexRow, annotation: Annotation | None, name: str, task: TaskConfig, wanted: Sequence[str]
) -> Example | str:
    """The example, or why there is none."""
    if annotation is None:
        return "no annotation"
    answer = fill(task.answer, annotation)
    if answer is None:
        return "no value for its answer"
    if task.choices and answer not in task.choices:
        return "its label is not one of the task's choices"
    prompt, uses_text = fill_prompt(task.prompt, annotation, text=True)
    shown = tuple(mode for mode in wanted if mode in task.modalities and _has(row, mode, uses_text))
    if not shown:
        return "none of the modalities shown"
    bare, _ = fill_prompt(task.prompt, annotation, text=False)
    reply = Turn(role="assistant", text=answer)
    return Example(
        key=row.key,
        task=name,
        turns=(Turn(role="user", text=prompt if "text" in shown else bare), reply),
        sample=row,
        modalities=shown,
        answer=answer if task.choices else None,
        turns_without_text=(Turn(role="user", text=bare), reply) if "text" in shown else (),
    )


def _has(row: IndexRow, modality: str, uses_text: bool) -> bool:
    """Whether a sample has anything to show in a modality."""
    present = {"video": row.frames > 0, "audio": row.audio_seconds > 0, "cues": row.cue_frames > 0, "text": uses_text}
    return present[modality]


def fill_prompt(template: str, annotation: Annotation, *, text: bool) -> tuple[str, bool]:
    """A prompt filled in, and whether it shows anything of the text modality. See the module's word on lines."""
    kept: list[str] = []
    uses_text = False
    for line in template.split("\n"):
        textual = any(_is_text(name) for name in _FIELD.findall(line))
        filled = fill(line, annotation)
        if filled is None or (textual and not text):
            continue
        kept.append(filled)
        uses_text = uses_text or textual
    return "\n".join(kept), uses_text


def fill(template: str, annotation: Annotation) -> str | None:
    """A template with its placeholders filled in; None when a value is missing or empty."""
    values = {name: _value(name, annotation) for name in _FIELD.findall(template)}
    if any(not value for value in values.values()):
        return None
    return _FIELD.sub(lambda match: values[match.group(1)] or "", template)


def _value(name: str, annotation: Annotation) -> str | None:
    """What a placeholder stands for."""
    kind, _, rest = name.partition(".")
    if kind == "label":
        return annotation.labels.get(rest)
    if kind == "text":
        return annotation.texts.get(rest)
    if kind == "transcript":
        return annotation.transcript
    return ", ".join(event.type for event in sorted(annotation.nfbl, key=lambda event: (event.start, event.end)))


def _is_text(name: str) -> bool:
    return name in ("transcript", "nfbl") or name.startswith("text.")


def _check_task(name: str, tasks: Mapping[str, TaskConfig]) -> None:
    """Refuse (``ConfigError``) a task that is not there, unknown placeholders, and a prompt that text alone makes."""
    if name not in tasks:
        raise ConfigError(f"there is no task '{name}'", hint=f"known: {', '.join(sorted(tasks)) or 'none'}")
    task = tasks[name]
    for field in _FIELD.findall(task.prompt + task.answer):
        if field not in ("transcript", "nfbl") and not re.fullmatch(r"(label|text)\.[\w-]+", field):
            raise ConfigError(
                f"task '{name}': unknown placeholder {{{field}}}",
                hint="known: {label.NAME}, {text.NAME}, {transcript}, {nfbl}",
            )
    if all(_FIELD.search(line) or not line.strip() for line in task.prompt.split("\n")):
        raise ConfigError(
            f"task '{name}': every line of its prompt depends on a placeholder",
            hint="put {transcript} or {nfbl} on a line of its own: the line goes when there is none",
        )


def examples_digest(examples: Sequence[Example]) -> str:
    """Digest of what examples ask and show, in their order; media and shards come in by the dataset's digest."""
    return digest_of_rows(
        [
            example.key,
            example.task,
            [[turn.role, turn.text] for turn in example.turns],
            list(example.modalities),
            example.answer,
        ]
        for example in examples
    )
