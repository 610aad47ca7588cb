"""The two ways in which a user hears "no": one clear line on standard error, and an exit code. Never a traceback."""


class SeqgenError(Exception):
    """It failed (exit code 1). The message names the value, where it stands and what would do."""

    exit_code = 1


class UsageError(SeqgenError):
    """It was asked wrongly (exit code 2)."""

    exit_code = 2
