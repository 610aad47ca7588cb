"""seqgen generate: texts of a language model."""

import json
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from seqgen.cli.parse import call, split_symbols
from seqgen.errors import UsageError
from seqgen.rules import GREEDY, Decoding
from seqgen.runs import LanguageModelRun, open_language_model
from seqgen.tasks.symbols import Symbols


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    /,
    prompt: str | None = None,
    length: int = 100,
    how: Annotated[Decoding, tyro.conf.arg(name="")] = GREEDY,
    ban: str = "",
    end: str | None = None,
    seed: int = 0,
    n: int = 1,
    json_: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(name="json")] = False,
) -> None:
    """Go on with a prompt, word by word; without one, with each line of standard input, or from nothing on a terminal.

    Args:
        run: a path, or a name under runs/.
        prompt: what the text begins with.
        length: tokens to write.
        how: how they are chosen.
        ban: symbols that are never written: "<unk>,N,$", or as JSON '["<unk>", ","]'.
        end: a symbol after which a text is over.
        seed: what is drawn is drawn from it.
        n: texts for each prompt: drawn, or the best of a beam.
        json_: one JSON object a text, with its number of tokens and log-probability in nats.

    """
    opened = open_language_model(run)
    options: dict[str, Any] = {"length": length, "how": how, "ban": split_symbols(ban), "end": end, "seed": seed, "n": n}
    if prompt is None and sys.stdin is not None and not sys.stdin.isatty():
        prompts = [line.rstrip("\r\n") for line in _lines(opened.symbols)] or [""]
    else:
        prompts = [prompt or ""]
    if len(prompts) == 1 and n == 1 and not json_:
        flow(opened, prompts, options)
        return
    for i in range(0, len(prompts), AT_ONCE):
        for texts in opened.generate(prompts[i : i + AT_ONCE], **options):
            for text in texts:
                print(json.dumps(text._asdict()) if json_ else text.text + "\n", flush=True)


AT_ONCE = 64
"""Prompts that are gone on with together."""


def _lines(symbols: Symbols) -> Sequence[str]:
    """Standard input. Raises `UsageError`, naming the line, where it is not UTF-8 but should be."""
    found = []
    for number, line in enumerate(sys.stdin.buffer, start=1):
        try:
            found.append(symbols.read(line))
        except UnicodeDecodeError as error:
            raise UsageError(f"standard input, line {number}: not UTF-8 (byte 0x{line[error.start]:02x})") from error
    return found


def flow(run: LanguageModelRun, prompts: list[str], options: dict[str, Any]) -> None:
    """Print one text while it is written."""
    shown = ""
    for (text,) in run.stream(prompts, **options):
        ready = text.text.rstrip("\n\ufffd")  # a new line may be followed by nothing, a character be half there
        print(ready[len(shown) :], end="", flush=True)
        shown = ready
    print()


def main(arguments: list[str]) -> None:
    """`seqgen generate RUN`."""
    call(command, "seqgen generate", arguments)
