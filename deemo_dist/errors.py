"""The project's own exceptions: what happened, where, and what to do about it.

The command line prints ``str(error)`` in one line and exits with ``error.exit_code``; ``--debug`` shows the traceback.
"""


class DeemoError(Exception):
    """Base of every error that a user can meet. ``hint`` says what to do; it follows the message after a dash."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} - {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[DeemoError], message: str, hint: str | None) -> DeemoError:
    """Unpickle an error without calling a subclass's own signature."""
    error = kind.__new__(kind)
    DeemoError.__init__(error, message, hint=hint)
    return error


class ConfigError(DeemoError):
    """A configuration file, key, type or value is wrong."""

    exit_code = 2


class StorageError(DeemoError):
    """An object could not be read, written or listed."""


class AlreadyExistsError(StorageError):
    """A put-if-absent found the key taken."""


class NotFoundError(StorageError):
    """The object does not exist."""


class NoSpaceError(StorageError):
    """There is no space left where something is written."""


class CorruptDataError(DeemoError):
    """Bytes do not match their digest, or a stored file cannot be parsed."""


class DamagedSampleError(CorruptDataError):
    """A sample that a receipt names cannot be read: it has another digest, ends early, or its shard is gone."""


class WeightsError(DeemoError):
    """A pinned weight is missing, unreachable or has another digest."""


class StalledError(DeemoError):
    """Work got no further for want of the machine's time. It says nothing of what was worked on, which is tried again a
    bounded number of times."""


class RejectedClipError(DeemoError):
    """A clip must be rejected: ``stage`` and ``reason`` (short stable words) go to the ledger."""

    def __init__(self, message: str, *, stage: str, reason: str, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.stage = stage
        self.reason = reason

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild_rejection, (type(self), self.message, self.stage, self.reason, self.hint))


def _rebuild_rejection(
    kind: "type[RejectedClipError]", message: str, stage: str, reason: str, hint: str | None
) -> "RejectedClipError":
    """Unpickle a rejection with its stage and reason."""
    return kind(message, stage=stage, reason=reason, hint=hint)


class MediaError(RejectedClipError):
    """A clip's media cannot be decoded within bounds. Stage is ``decode`` unless said otherwise."""

    def __init__(
        self, message: str, *, stage: str = "decode", reason: str = "unreadable", hint: str | None = None
    ) -> None:
        super().__init__(message, stage=stage, reason=reason, hint=hint)


class DeidError(RejectedClipError):
    """A clip cannot be de-identified with confidence."""

    def __init__(
        self, message: str, *, stage: str = "deid", reason: str = "uncertain", hint: str | None = None
    ) -> None:
        super().__init__(message, stage=stage, reason=reason, hint=hint)


class DatasetError(DeemoError):
    """A dataset, manifest, shard, ledger or plan is missing, inconsistent or refused."""


class ModelError(DeemoError):
    """A model, processor or weight set is inconsistent or refused."""


class TrainingError(DeemoError):
    """Training cannot start or go on."""


class CheckpointError(TrainingError):
    """A checkpoint is missing, of another run, or corrupt."""


class Interrupted(DeemoError):  # noqa: N818 - an event, not a fault
    """A stop was asked for and a checkpoint was written: exit 75 asks the batch system for a requeue."""

    exit_code = 75


class LaunchError(DeemoError):
    """A job could not be submitted, or ended badly."""


class TrackingError(DeemoError):
    """The tracking server cannot be used. Never ends a training run."""
