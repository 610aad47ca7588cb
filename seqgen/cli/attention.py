"""seqgen attention: draw or export where a run looks while it answers."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import tyro

from seqgen.cli.flags import Flat
from seqgen.cli.members import keep_mark, runs_and_texts, tell_members
from seqgen.cli.parse import argument, call
from seqgen.decoding.logits import GREEDY, GenerationConfig
from seqgen.errors import SeqgenError, UsageError
from seqgen.interop.attention import export

DATA, FIGURES = (".json", ".npz"), (".png", ".svg")
"""Endings of a file for programs, and of one to look at."""


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    text: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")] = (),
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")] = Path("attention.png"),
    generation: Annotated[GenerationConfig, Flat] = GREEDY,
    hypothesis: int = 0,
    seed: int = 0,
    members: Annotated[str | None, tyro.conf.arg(metavar="VARIANT")] = None,
) -> None:
    """Answer questions and draw the attention maps, or write their numbers.

    The source is along x in reading order, the output down y, 0 black to 1 bright.

    Several runs answer as an ensemble, and the map is the mean of theirs: RUN RUN ... TEXT. A TEXT
    that is a run's name stands after --.

    Args:
        run: a path, or a name under runs/.
        text: further runs, then questions, one map each.
        output: a figure, .png or .svg; or the numbers, .json or .npz.
        generation: how answers are chosen.
        hypothesis: which of a beam's answers, 0 the best.
        seed: of the sampling.
        members: RUN is a sweep, and all finished members of this variant are the ensemble.

    """
    ending = output.suffix.lower()
    if ending not in DATA + FIGURES:
        endings = ", ".join(FIGURES + DATA)
        raise UsageError(f"cannot write {output}: its name must end in one of {endings}")
    opened, texts = runs_and_texts(run, text, members)
    if not texts:
        raise UsageError("attention needs a TEXT to answer")
    tell_members(opened)
    questions = [argument(each, f"question {i}") for i, each in enumerate(texts, start=1)]
    seen = opened.attention(questions, generation, hypothesis=hypothesis, seed=seed)
    if ending in DATA:
        chosen = {"generation": asdict(generation), "hypothesis": hypothesis, "seed": seed}
        export(seen, output, run=opened.name, about={**opened.meaning(), **chosen})
    else:
        from seqgen import viz
        from seqgen.families.pairs import maps

        if not (drawn := maps(seen)):
            raise SeqgenError(
                f"{opened.name} answers with nothing, so there is nothing to draw; train it longer"
            )
        viz.save(viz.attention_figure(drawn), output)
    for line in dict.fromkeys(f"{each.question} -> {each.answer}" for each in seen):
        print(line)
    print(output)


def main(arguments: list[str]) -> None:
    """`seqgen attention RUN TEXT...`."""
    call(command, "seqgen attention", keep_mark(arguments))
