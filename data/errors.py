"""Every error that vidret raises on purpose; each class owns its exit code.

A message is one clear sentence: what happened, where, and what to do next.
"""


class VidretError(Exception):
    """The parent of all errors raised on purpose."""

    exit_code = 1


class ConfigError(VidretError):
    """A setting, flag or file of settings makes no sense."""

    exit_code = 2


class ItemsFailedError(VidretError):
    """The run finished, but more items failed than were allowed."""

    exit_code = 3


class MissingError(VidretError):
    """Something that the run needs is not there: weights, files, a tool, a GPU."""

    exit_code = 4


class DamagedError(VidretError):
    """A cache, shard or checkpoint is damaged."""

    exit_code = 5


class MismatchError(VidretError):
    """A cache or checkpoint is whole, but was made with other settings."""

    exit_code = 5


class BelowThresholdError(VidretError):
    """A metric stayed below what `--fail-under` asked for."""

    exit_code = 6


class ItemError(VidretError):
    """One video or caption could not be processed; it is counted, and the run goes on."""

    exit_code = 3
    stage = "item"


class DecodeError(ItemError):
    """A file gave no usable frames."""

    stage = "decode"


class EncodeError(ItemError):
    """An encoder gave no usable embedding."""

    stage = "encode"
