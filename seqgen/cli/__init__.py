"""The command line. Only the first word is read here, without jax; the command's own module reads the rest with tyro."""

import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from seqgen import __version__
from seqgen.errors import SeqgenError, UsageError

COMMANDS = {
    "train": ("seqgen.cli.train", "train a model on a task: seqgen train dates attention"),
    "resume": ("seqgen.cli.resume", "go on with a run that was stopped"),
    "evaluate": ("seqgen.cli.evaluate", "exact match, token accuracy and loss of a run"),
    "predict": ("seqgen.cli.predict", "answer questions, from the arguments or standard input"),
    "attention": ("seqgen.cli.attention", "draw where a run looks while it answers"),
    "audit": ("seqgen.cli.audit", "how much of a test set is already in the training set"),
    "doctor": ("seqgen.cli.doctor", "versions, devices, compilation cache, known traps"),
}
"""A command's name -> the module whose `main(arguments)` runs it, and its line of help."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return the exit code: 0, 1 (it failed), 2 (bad usage), 130 (Ctrl-C), 141 (nobody reads on).

    A `SeqgenError` becomes one line, and so does memory that runs out. Any other exception is a bug of ours, and keeps its
    traceback.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        run(words)
        print(end="", flush=True)  # here, where a closed pipe can still be caught
    except SeqgenError as error:
        print("seqgen: error:", " ".join(str(error).splitlines()), file=sys.stderr)
        return error.exit_code
    except MemoryError as error:
        print(
            f"seqgen: error: out of memory: {error or 'no more to be had'}; less data or a smaller model would do",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is still buffered goes nowhere, quietly
        return 141
    return 0


def run(words: list[str]) -> None:
    """Dispatch on the first word."""
    match words:
        case [] | ["-h" | "--help", *_]:
            print(overview())
        case ["--version", *_]:
            print("seqgen", __version__)
        case [name, *arguments] if name in COMMANDS:
            use_compilation_cache()
            import_module(COMMANDS[name][0]).main(arguments)
        case [name, *_]:
            near = difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(COMMANDS)}"
            raise UsageError(f"no command {name!r}; {hint}")


def overview() -> str:
    """What `seqgen --help` prints."""
    lines = "\n".join(f"  {name:<10} {line}" for name, (_, line) in COMMANDS.items())
    return f"usage: seqgen COMMAND ...\n\n{lines}\n\n`seqgen COMMAND --help` tells more, `seqgen --version` the version."


def use_compilation_cache() -> None:
    """Let jax find, when it is imported later, what it compiled in earlier runs; go without where that cannot be.

    The folder is the user's own, since whoever can write there can run code here. A `JAX_COMPILATION_CACHE_DIR` from
    outside wins, even an empty one, which turns the cache off.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seqgen"
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # a file in its place, a read-only disk; a user without a home
        return
    if os.access(folder, os.W_OK):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
