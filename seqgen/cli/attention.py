"""seqgen attention: draw or export where a run looks while it answers."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import tyro

from seqgen.cli.answers import tell_unknown
from seqgen.cli.attention_file import attended, check_new, nothing_drawn, write_pages
from seqgen.cli.flags import Flat
from seqgen.cli.members import keep_mark, runs_and_texts, tell_members
from seqgen.cli.parse import argument, call
from seqgen.decoding.logits import GREEDY, GenerationConfig
from seqgen.errors import UsageError
from seqgen.interop.attention import WRITERS, Attention, export

FIGURES = (".png", ".svg")
"""Endings of a file to look at."""


def command(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    text: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")] = (),
    /,
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="FILE")] = Path("attention.png"),
    generation: Annotated[GenerationConfig, Flat] = GREEDY,
    hypothesis: int = 0,
    seed: int = 0,
    input_: Annotated[Path | None, tyro.conf.arg(name="input", metavar="FILE")] = None,
    pages: Literal["png", "svg"] | None = None,
    members: Annotated[str | None, tyro.conf.arg(metavar="VARIANT")] = None,
) -> None:
    """Answer questions and draw the attention maps, or write their numbers.

    The source is along x in reading order, the output down y, 0 black to 1 bright.

    Several runs answer as an ensemble, and the map is the mean of theirs: RUN RUN ... TEXT. A TEXT
    that is a run's name stands after --.

    Args:
        run: a path, or a name under runs/.
        text: further runs, then questions, one map each.
        output: a figure, .png or .svg; the numbers, .json, .npz, or .jsonl with a line per
            question; a name without an ending is a new folder of figures, several maps a page.
        generation: how answers are chosen.
        hypothesis: which of a beam's answers, 0 the best.
        seed: of the sampling.
        input_: a file of questions, one a line, in place of TEXT; .gz and .xz are unpacked, empty
            lines left out.
        pages: what a folder's figures are; png unless this is given.
        members: RUN is a sweep, and all finished members of this variant are the ensemble.

    """
    opened, texts = runs_and_texts(run, text, members)
    if bool(texts) == (input_ is not None):
        raise UsageError("attention needs a TEXT to answer, or the --input of a file")
    ending = check_output(output, pages, of_file=input_ is not None)
    tell_members(opened)
    chosen = {"hypothesis": hypothesis, "seed": seed}

    def answer(questions: list[str]) -> list[Attention]:
        tell_unknown(opened, questions)
        return opened.attention(questions, generation, hypothesis=hypothesis, seed=seed)

    questions = [argument(each, f"question {i}") for i, each in enumerate(texts, start=1)]
    seen = answer(questions) if input_ is None else []
    items = iter(seen) if input_ is None else attended(answer, input_)
    if ending in WRITERS:
        about = {**opened.meaning(), "generation": asdict(generation), **chosen}
        export(items, output, run=opened.name, about=about)
    elif ending in FIGURES:
        draw(seen, output)
    else:
        write_pages(items, output, pages or "png")
    for line in dict.fromkeys(f"{each.question} -> {each.answer}" for each in seen):
        print(line)
    print(output)


def check_output(output: Path, pages: str | None, *, of_file: bool) -> str:
    """The ending of what is written, none of a folder's. Raises `UsageError` where it cannot be."""
    ending = output.suffix.lower()
    if ending and ending not in (*FIGURES, *WRITERS):
        endings = ", ".join((*FIGURES, *WRITERS))
        raise UsageError(
            f"cannot write {output}: its name must end in one of {endings}, or be a folder's"
        )
    if ending and pages is not None:
        raise UsageError(f"--pages {pages} would change nothing: {output} is one file, no folder")
    if of_file and ending in FIGURES:
        raise UsageError(
            f"{output} is one figure, and a file has many: name a folder, for pages of them, or a "
            f"file of numbers, {', '.join(WRITERS)} (--output)"
        )
    if not ending:
        check_new(output)
    return ending


def draw(seen: list[Attention], output: Path) -> None:
    """One figure of all maps. Raises `SeqgenError` where there is none."""
    from seqgen import viz
    from seqgen.families.pairs import maps

    if not (drawn := maps(seen)):
        raise nothing_drawn()
    viz.save(viz.attention_figure(drawn), output)


def main(arguments: list[str]) -> None:
    """`seqgen attention RUN TEXT...`."""
    call(command, "seqgen attention", keep_mark(arguments))
