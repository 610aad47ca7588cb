"""The command line. Only the first word is read here, without jax; the command's own module reads
the rest with tyro.
"""

import difflib
import errno
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import Any

from seqgen import __version__
from seqgen.errors import SeqgenError, UsageError
from seqgen.storage.files import cache_folder
from seqgen.training.signals import handling, interrupt, number_of

COMMANDS = {
    "train": ("seqgen.cli.train", "train a model on a task: seqgen train dates attention"),
    "sweep": (
        "seqgen.cli.sweep",
        "train all variants and seeds of an experiment: seqgen sweep experiments.addition",
    ),
    "resume": ("seqgen.cli.resume", "go on with a run that was stopped"),
    "average": ("seqgen.cli.average", "a run of the mean of another's last or best epochs"),
    "accept": ("seqgen.cli.accept", "take a run's files as they are, after they were edited"),
    "evaluate": (
        "seqgen.cli.evaluate",
        "exact match, error rates and loss of a run; perplexity of a language model",
    ),
    "compare": ("seqgen.cli.compare", "two runs on the same rows: seqgen compare RUN RUN"),
    "predict": ("seqgen.cli.predict", "answer questions, from the arguments or standard input"),
    "generate": (
        "seqgen.cli.generate",
        "let a language model write: seqgen generate RUN --prompt you",
    ),
    "score": ("seqgen.cli.score", "how well a language model predicts a text, line by line"),
    "attention": ("seqgen.cli.attention", "draw where a run looks while it answers"),
    "import-book": ("seqgen.cli.import_book", "a run from weights that the book's code saved"),
    "export-book": ("seqgen.cli.export_book", "a run's weights as the book's code reads them"),
    "audit": ("seqgen.cli.audit", "how much of a test set is already in the training set"),
    "doctor": ("seqgen.cli.doctor", "versions, devices, compilation cache, known traps"),
}
"""A command's name -> the module whose `main(arguments)` runs it, and its line of help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0, 1 (it failed), 2 (bad usage), 130 (Ctrl-C), 141
    (the reader of standard output has left), 143 (SIGTERM).

    A `SeqgenError` becomes one line, and so does what the machine lacks. Any other exception is a
    bug of ours, and keeps its traceback.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    prepare_output()
    try:
        with handling(interrupt):
            run(words)
        print(end="", flush=True)  # here, where what cannot be written can still be caught
    except SeqgenError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt as error:
        say("stopped")
        return 128 + number_of(error)
    except BrokenPipeError:
        silence(1)
        return 141
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        silence(1)
        say(f"cannot write {error.filename or 'standard output'}: {error.strerror}")
        return 1
    except Exception as error:
        if (line := lack(error)) is None:
            raise
        say(line)
        return 1
    return 0


def say(line: str) -> None:
    """Print an error as one line."""
    print("seqgen: error:", " ".join(line.splitlines()), file=sys.stderr)


def silence(descriptor: int) -> None:
    """Discard what is still buffered: its reader has left, or the disk is full."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def prepare_output() -> None:
    """Make a closed output (`>&-`) one that discards, and escape what the encoding lacks; warnings
    take a line.
    """
    brief: Any = lambda message, *_: f"seqgen: note: {message}\n"  # noqa: E731
    warnings.formatwarning = brief
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def lack(error: Exception) -> str | None:
    """What the machine lacks, and what to do about it; None for any other error."""
    if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
        return f"out of memory: {error or 'none is left'}; use less data or a smaller model"
    if "Unable to initialize backend" in str(error):
        return f"{error}; see `seqgen doctor`"
    return None


def run(words: list[str]) -> None:
    """Dispatch on the first word."""
    match words:
        case [] | ["-h" | "--help", *_]:
            print(overview())
        case ["--version", *_]:
            print("seqgen", __version__)
        case [name, *arguments] if name in COMMANDS:
            use_compilation_cache()
            import_command(COMMANDS[name][0]).main(arguments)
        case [name, *_]:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}"
            raise UsageError(f"no command {name!r}; {hint}")


def import_command(module: str) -> Any:
    """Import a command. A signal meanwhile ends the process: libraries make other errors of a
    KeyboardInterrupt.
    """
    with handling(leave):
        return import_module(module)


def leave(number: int, frame: Any) -> None:
    """End the process at once, with a line."""
    say("stopped before it began")
    os._exit(128 + number)


def overview() -> str:
    """What `seqgen --help` prints."""
    lines = "\n".join(f"  {name:<11} {line}" for name, (_, line) in COMMANDS.items())
    return (
        f"usage: seqgen COMMAND ...\n\n{lines}\n\n"
        "`seqgen COMMAND --help` tells more, `seqgen --version` the version."
    )


def use_compilation_cache() -> None:
    """Let jax find, when it is imported later, what it compiled in earlier runs.

    Nothing is set where there can be no cache. A `JAX_COMPILATION_CACHE_DIR` from outside wins,
    even an empty one, which turns the cache off.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ or (folder := cache_folder()) is None:
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
