"""seqgen attention: draw where a run looks while it answers."""

from pathlib import Path
from typing import Annotated

import tyro

from seqgen import viz
from seqgen.cli.parse import call
from seqgen.errors import SeqgenError, UsageError
from seqgen.fit.seq2seq import maps
from seqgen.runs import open_seq2seq


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    text: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")],
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")] = Path("attention.png"),
) -> None:
    """Answer questions and draw the attention maps: source along x in reading order, output down y, 0 black to 1 bright.

    Args:
        run: a path, or a name under runs/.
        text: questions, one map each.
        output: the figure, .png or .svg.

    """
    if not text:
        raise UsageError("attention needs a TEXT to answer")
    drawn = maps(open_seq2seq(run), list(text))
    if not drawn:
        raise SeqgenError(f"{run} answers with nothing, so there is nothing to draw; more training would do")
    viz.save(viz.attention_figure(drawn), output)
    for line in dict.fromkeys(f"{seen.source} -> {seen.output}" for seen in drawn):  # once, however many heads
        print(line)
    print(output)


def main(arguments: list[str]) -> None:
    """`seqgen attention RUN TEXT...`."""
    call(command, "seqgen attention", arguments)
