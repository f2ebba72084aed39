"""A run's model put to the test: the examples it is asked, and what it makes of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from deemo_dist.config import RunConfig
from deemo_dist.console import logger, progress
from deemo_dist.dataset import Dataset, Examples, build_examples, load_example, restrict
from deemo_dist.evaluation import Evaluation, Explanation, answers_of, choose, evaluate, explain, show
from deemo_dist.records import Example, LoadedExample
from deemo_dist.storage import Store
from pipelines.judge import Judge, choices_of

BATCH = 8


def asked_of(config: RunConfig, dataset: Dataset) -> dict[str, Examples]:
    """The examples of the evaluated split by task: of the one that is judged, and of the one that explains, if any.
    Raises ``ConfigError`` where the judged one has no closed set of answers."""
    choices_of(config)
    settings = config.evaluation
    explaining = [settings.explain_task] if settings.explain_task and settings.explanations else []
    return {
        task: build_examples(dataset, config.tasks, [task], settings.split) for task in (settings.task, *explaining)
    }


class Exam:
    """The model in ``folder`` and the examples it is ``asked``, by task."""

    def __init__(
        self, config: RunConfig, store: Store, dataset: Dataset, asked: Mapping[str, Examples], folder: Path
    ) -> None:
        self.config, self.store, self.dataset, self.asked = config, store, dataset, asked
        self.choices = choices_of(config)
        self.judge = Judge(folder, config)

    def recognition(self) -> Evaluation:
        """Recognition over the split, under every condition of the ablation."""
        settings = self.config.evaluation
        examples = list(self.asked[settings.task])
        with progress("evaluate", len(examples), unit="clips") as bar:
            return evaluate(
                self._batches(examples),
                self.choices,
                score=self.judge.score,
                generate=self.judge.say,
                restrict=limit,
                ablations=settings.ablations,
                split=settings.split,
                resamples=settings.bootstrap,
                seed=self.config.seed,
                on_batch=bar.advance,
            )

    def explanations(self, evaluation: Evaluation) -> tuple[Explanation, ...]:
        """A few free texts, beside the annotation's; none where no sample of the split has one."""
        settings = self.config.evaluation
        task = settings.explain_task
        if task is None or not settings.explanations:
            return ()
        truths = {item.key: item.truth for item in evaluation.predictions}
        shown = explained(self.asked[task], truths, settings.explanations)
        if not shown:
            logger.warning("%s: no sample has a text of task %s, none is explained", settings.split, task)
        return explain(
            self._batches(shown),
            self.judge.say,
            truths=truths,
            answers=answers_of(evaluation),
            references={example.key: example.turns[-1].text for example in shown},
        )

    def _batches(self, examples: Sequence[Example]) -> Iterator[list[LoadedExample]]:
        for start in range(0, len(examples), BATCH):
            yield [self._load(example) for example in examples[start : start + BATCH]]

    def _load(self, example: Example) -> LoadedExample:
        return load_example(example, self.store, self.dataset.prefix, frames=self.config.model.frames)


def explained(examples: Sequence[Example], truths: Mapping[str, str], count: int) -> list[Example]:
    """So many examples to be explained, spread over their true labels (by sample key) and not picked by result; of
    those without a label, only where none has one."""
    labelled = [example for example in examples if example.key in truths] or list(examples)
    return [labelled[number] for number in choose([truths.get(item.key, "") for item in labelled], count)]


def limit(loaded: LoadedExample, modalities: tuple[str, ...]) -> LoadedExample:
    """The example with fewer modalities: media absent, and without text its prompt quotes no transcript."""
    return replace(show(loaded, modalities), example=restrict(loaded.example, modalities))
