"""seqgen generate: texts of a language model."""

import json
import sys
from itertools import chain
from typing import Annotated, Any

import tyro

from seqgen.cli.flags import Flat
from seqgen.cli.parse import answer_lines, argument, call, input_blocks, split_symbols
from seqgen.decoding.logits import GREEDY, GenerationConfig
from seqgen.families import TextRun, open_text


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    /,
    prompt: str | None = None,
    length: int = 100,
    generation: Annotated[GenerationConfig, Flat] = GREEDY,
    ban: str = "",
    end: str | None = None,
    seed: int = 0,
    n: int = 1,
    json_: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg(name="json")] = False,
) -> None:
    """Go on with a prompt, word by word.

    Without one, go on with each line of standard input, or from nothing on a terminal and after an
    empty line. At a line that cannot be read it ends, with that line's number, once the texts of
    those before it are written.

    Args:
        run: a path, or a name under runs/.
        prompt: what the text begins with.
        length: tokens to write.
        generation: how they are chosen.
        ban: symbols that are never written: "<unk>,N,$", or as JSON '["<unk>", ","]'.
        end: a symbol after which a text is over.
        seed: of the sampling.
        n: texts per prompt: sampled, or the best of a beam.
        json_: one JSON object per text, with its number of tokens and log-probability in nats.

    """
    opened = open_text(run)
    options: dict[str, Any] = {
        "length": length,
        "generation": generation,
        "ban": split_symbols(ban),
        "end": end,
        "seed": seed,
        "n": n,
    }

    def show(prompts: list[str]) -> None:
        for text in chain.from_iterable(opened.generate(prompts, **options)):
            print(json.dumps(text._asdict()) if json_ else text.text + "\n", flush=True)

    def write(prompts: list[str]) -> None:
        flow(opened, prompts, options)

    one, unit = n == 1 and not json_, opened.tokenizer.unit
    if prompt is not None or sys.stdin is None or sys.stdin.isatty():
        (write if one else show)([argument(prompt or "", "--prompt", unit)])
        return
    opened.generate([], **options)  # what is wrong with the options is of no line
    blocks = input_blocks(unit, AT_ONCE)
    first = next(blocks, [(1, "")])
    for lines in chain([first], blocks):
        answer_lines(lines, write if one and len(first) == 1 else show)


AT_ONCE = 64
"""Prompts that are gone on with together."""


def flow(run: TextRun, prompts: list[str], options: dict[str, Any]) -> None:
    """Print one text while it is written."""
    shown = ""
    for (text,) in run.stream(prompts, **options):
        # a new line may be followed by nothing, a character be half there
        ready = text.text.rstrip("\n\ufffd")
        print(ready[len(shown) :], end="", flush=True)
        shown = ready
    print()


def main(arguments: list[str]) -> None:
    """`seqgen generate RUN`."""
    call(command, "seqgen generate", arguments)
