"""Where the parameters of a model go while it is built: here, whole; or, under ``placing``, as another room says.

A model that fits no host is cut among the ranks as it is built: a module's own children are handed over (``keep``) as
soon as the module stands, and gathered (``whole``) for as long as their first values are set.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.modules.module import register_module_module_registration_hook
from transformers import PreTrainedModel
from transformers.initialization import no_init_weights

from deemo_dist.errors import ModelError


class Placing:
    """All parameters here, whole. ``reads``: this process reads stored weights itself."""

    reads = True
    cuts = False

    def keep(self, parameters: Iterable[nn.Parameter]) -> None:
        """Take over parameters whose module stands; again: nothing. What cuts them also casts them before."""

    def whole(self, tensors: Sequence[Tensor], *, of_first: bool = False) -> AbstractContextManager[None]:
        """The tensors whole for a while. What is written must be the same on all ranks, or with ``of_first`` is taken
        from the first. A collective where parameters are cut."""
        return nullcontext()

    def finish(self, job: Future[Any] | None) -> None:
        """Wait until the job of the process that reads (None: this one has none) has ended, well or badly. A collective
        where parameters are cut: a download may take longer than one would wait."""
        if job is not None:
            wait([job])

    def agree(self, error: ModelError | None) -> None:
        """Raise the error of the process that reads, on all ranks. A collective where parameters are cut."""
        if error is not None:
            raise error


Part = TypeVar("Part", bound=PreTrainedModel)
_stored: ContextVar[Collection[str]] = ContextVar("stored", default=())
_current: ContextVar[Placing] = ContextVar("placing", default=Placing())  # noqa: B039 - it holds nothing


def current() -> Placing:
    """The placing in force."""
    return _current.get()


@contextmanager
def placing(how: Placing) -> Iterator[None]:
    """Models that are built within go where ``how`` says."""
    token = _current.set(how)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def building(stored: Collection[str] = ()) -> Iterator[None]:
    """Around the making of a model: its parameters go to the placing in force as they come, with the values that they
    would have without it. ``stored``: parts that are read afterwards, whole, and get no first values."""
    token = _stored.set(stored)
    try:
        with _placed(current()):
            yield
    finally:
        _stored.reset(token)


def made(part: str, build: Callable[[], Part]) -> Part:
    """A part of a model, as ``building`` has it. Its buffers have their values in any case."""
    if part not in _stored.get():
        return build()
    with no_init_weights():
        found = build()
    for module in found.modules():
        if any(True for _ in module.parameters(recurse=False)):
            module._is_hf_initialized = True  # type: ignore[assignment]
    found.tie_weights(recompute_mapping=False)
    return found


@contextmanager
def _placed(how: Placing) -> Iterator[None]:
    if not how.cuts:
        yield
        return
    initialise = PreTrainedModel._initialize_weights

    def gathered(model: PreTrainedModel, module: Any, is_custom_code: bool = False) -> None:
        # a module's rule may reach into its children (attention over its projections), never further
        if getattr(module, "_is_hf_initialized", False):
            return
        with how.whole(list(_near(module))):
            initialise(model, module, is_custom_code)

    # a module is whole when its parent takes it; its own parameters may still be rewritten by that parent (weight norm)
    hook = register_module_module_registration_hook(lambda _parent, _name, child: _keep_children(how, child))
    PreTrainedModel._initialize_weights = gathered  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        PreTrainedModel._initialize_weights = initialise  # type: ignore[method-assign]
        hook.remove()


def _near(module: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters of a module and of its children, those behind a parametrised weight (weight norm) included."""
    for part in (module, *module.children()):
        yield from part.parameters(recurse=False)
        behind = getattr(part, "parametrizations", None)
        if isinstance(behind, nn.Module):
            yield from behind.parameters()


def _keep_children(how: Placing, module: nn.Module | None) -> None:
    for child in module.children() if module is not None else ():
        how.keep(child.parameters())
