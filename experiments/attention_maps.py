"""The book's figure 8-27 for test dates in every format, the generator's own alignment drawn over
each map.

Claim     attention can be read as an alignment in large part, for days that training never saw
Source    Deep Learning from Scratch 2, figure 8-27
Command   seqgen sweep experiments.dates, then python -m experiments.attention_maps
Expected  most bright cells inside the frames, but for separators and for zeros that the question
          leaves out
Time      half a minute
"""

import tyro

from experiments.records import FOLDER, RUNS
from seqgen import viz
from seqgen.errors import SeqgenError
from seqgen.families import PairsRun, open_pairs
from seqgen.families.pairs import maps


def questions(run: PairsRun) -> list[str]:
    """The first test question of each format that the run answers rightly."""
    task, found = run.dataset.task, dict[str, str]()
    pairs = run.pairs("test")[:500]
    guesses = run.predict([question for question, _ in pairs])
    for (question, answer), guess in zip(pairs, guesses, strict=True):
        if guess == answer:
            found.setdefault(task.format(question), question)
    return [found[name] for name in sorted(found)]


TRAINED = str(RUNS / "dates" / "attention-reverse-0")


def main(run: str = TRAINED, name: str = "attention-maps") -> None:
    """Draw results/<name>.png and .svg.

    Args:
        run: a path, or a name under runs/.
        name: the figure's.

    """
    opened = open_pairs(run)
    if not (asked := questions(opened)):
        none = "answers none of its test questions rightly"
        raise SeqgenError(f"{run} {none}: there is nothing to draw")
    drawn = maps(opened.attention(asked), task=opened.dataset.task)
    viz.save_both(FOLDER / name, viz.attention_figure(drawn))


if __name__ == "__main__":
    tyro.cli(main)
