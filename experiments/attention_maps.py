"""The book's figure 8-27 for held-out dates in every format, the generator's own alignment drawn over each map.

Claim     attention can be read as an alignment in large part, for days that training never saw
Source    Deep Learning from Scratch 2, figure 8-27
Command   seqgen sweep experiments.dates, then python -m experiments.attention_maps
Expected  most bright cells inside the frames, but for separators and for zeros that the question leaves out
Time      half a minute
"""

import tyro

from experiments.records import FOLDER, RUNS
from seqgen import viz
from seqgen.errors import SeqgenError
from seqgen.fit.common import save
from seqgen.fit.seq2seq import maps
from seqgen.runs import Seq2seqRun, open_seq2seq


def questions(run: Seq2seqRun) -> list[str]:
    """The first test question of each format that the run answers rightly."""
    task, found = run.dataset.task, dict[str, str]()
    pairs = run.pairs("test")[:500]
    for (question, answer), guess in zip(pairs, run.predict([question for question, _ in pairs]), strict=True):
        if guess == answer:
            found.setdefault(task.format(question), question)
    return [found[name] for name in sorted(found)]


def main(run: str = str(RUNS / "dates" / "attention-reverse-0"), name: str = "attention-maps") -> None:
    """Draw results/<name>.png and .svg.

    Args:
        run: a path, or a name under runs/.
        name: the figure's.

    """
    opened = open_seq2seq(run)
    if not (drawn := maps(opened, questions(opened), gold=True)):
        raise SeqgenError(f"{run} answers none of its test questions rightly: there is nothing to draw")
    save(FOLDER / name, viz.attention_figure(drawn))


if __name__ == "__main__":
    tyro.cli(main)
