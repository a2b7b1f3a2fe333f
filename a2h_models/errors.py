"""The one error tree.

A2HError                 what we foresaw; the message names the file or key and the value, the hint
                         says what to do
├── UserError            wrong use; the command line exits with 2
│   ├── ConfigError      a key or value of the configuration
│   └── InputError       a file or folder that the user named and that cannot be used as it is
└── FailedError          right use that did not work out; the command line exits with 1
    ├── MediaError       a video or sound that cannot be decoded or encoded (carries a Reason's
    name)
    ├── DatasetError     a shard, sidecar, plan or ledger that is damaged or of another schema
    version
    ├── CheckpointError  weights that do not fit the network that asked for them
    ├── RegistryError    the tracking server or the model registry refused or cannot be reached
    └── ClusterError     a worker or the cluster failed beyond its retries
"""

from __future__ import annotations


class A2HError(Exception):
    """Base of every error that we raise on purpose.

    `str(error)` is one sentence; `hint` says what to do next.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Survive the trip through Ray, keyword argument included."""
        return (_rebuild, (type(self), self.message, self.hint, dict(self.__dict__)))


def _rebuild(kind: type[A2HError], message: str, hint: str, state: dict[str, object]) -> A2HError:
    error = kind.__new__(kind)
    A2HError.__init__(error, message, hint=hint)
    error.__dict__.update(state)
    return error


class UserError(A2HError):
    exit_code = 2


class ConfigError(UserError):
    pass


class InputError(UserError):
    pass


class FailedError(A2HError):
    exit_code = 1


class MediaError(FailedError):
    """A video or sound that cannot be used; `reason` is the name of a
    `pipelines.prepare.reasons.Reason`.
    """

    def __init__(self, message: str, *, hint: str = "", reason: str = "unreadable") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class DatasetError(FailedError):
    pass


class CheckpointError(FailedError):
    pass


class RegistryError(FailedError):
    pass


class ClusterError(FailedError):
    pass


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
