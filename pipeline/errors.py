"""Every error this package raises on purpose, and the exit code each one ends the command line with.

::

    PipelineError                     exit 2   base: never raised itself
    ├── ConfigurationError            exit 2   an option, recipe or argument that cannot be used as given
    │   └── MissingExtraError         exit 2   an optional package is not installed (also an ImportError)
    ├── ArtefactConflictError         exit 2   the output folder belongs to a run with other inputs or configuration
    ├── ExecutionError                exit 2   a worker process died or could not be started
    ├── TransferError                 exit 2   a file cannot be fetched: no such file, no way there, no end of faults
    └── DataError                     exit 1   the data failed a check
        ├── InputFormatError          exit 1   an input file is not what it should be, or is cut short
        ├── ArtefactError             exit 1   a folder is no finished artefact, or its manifest cannot be read
        ├── IntegrityError            exit 1   an artefact's files disagree with its manifest or its laws
        └── StateError                exit 1   a reader's saved state belongs to another dataset or order

A message says where, what was expected and what was found; ``hint`` says what to do about it. Anything else that
escapes is a bug in this package (exit 2); an interrupt is exit 130.
"""


class PipelineError(Exception):
    """Base of the tree.

    Args:
        message: One sentence: where, what was expected, what was found.
        hint: What to do about it, if there is something to say.
    """

    exit_code = 2

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message} ({self.hint})"

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders; the default reduction would lose the keyword argument.
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[PipelineError], message: str, hint: str | None) -> PipelineError:
    return kind(message, hint=hint)


class ConfigurationError(PipelineError):
    """An option, recipe or argument that cannot be used as given."""


class MissingExtraError(ConfigurationError, ImportError):
    """An optional package is not installed; the hint is the ``pip install`` line."""


class ArtefactConflictError(PipelineError):
    """The output folder holds a run with other inputs or another configuration."""


class ExecutionError(PipelineError):
    """A worker process died or could not be started."""


class TransferError(PipelineError):
    """A file cannot be fetched; what was fetched of it is kept."""


class DataError(PipelineError):
    """The data failed a check."""

    exit_code = 1


class InputFormatError(DataError):
    """An input file is not what it should be, or is cut short."""


class ArtefactError(DataError):
    """A folder is no finished artefact, or its manifest cannot be read."""


class IntegrityError(DataError):
    """An artefact's files disagree with its manifest or with the laws it must obey."""


class StateError(DataError):
    """A reader's saved state belongs to another dataset or another order."""
