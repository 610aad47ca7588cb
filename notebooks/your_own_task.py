# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A task of your own
#
# A task says how questions and answers are drawn, what must not stand on both sides of a split, and
# (for the frames in maps) where each character comes from. This one spells words backwards.

# %%
from dataclasses import dataclass
from typing import ClassVar

from seqgen.tasks import TASKS


@dataclass(frozen=True)
class Backwards:
    """Random words of 2 to 6 letters -> the same letters from the last to the first."""

    name: ClassVar[str] = "backwards"
    alphabet: ClassVar[str] = " _abcdefgh"
    question_width: ClassVar[int] = 6
    answer_width: ClassVar[int] = 6

    def sample(self, generator, n):
        letters = list("abcdefgh")
        words = ["".join(generator.choice(letters, generator.integers(2, 7))) for _ in range(n)]
        return [(word, word[::-1]) for word in words]

    def key(self, question, answer):
        return question

    def format(self, question):
        return f"{len(question)} letters"

    def gold(self, question, answer):
        return [{"letter": frozenset({position})} for position in reversed(range(len(question)))]


TASKS["backwards"] = Backwards

# %% [markdown]
# Any model trains on it: here attention, with 64 hidden units.

# %%
from seqgen import presets, viz
from seqgen.cli.terminal import run_to_end
from seqgen.config import RunConfig, Training
from seqgen.families import create, is_run, locate, open_run
from seqgen.families.pairs import maps
from seqgen.tasks.dataset import Data
from seqgen.training.state import HyperConfig

NAME = "notebook-backwards"
model = presets.model("attention", embedding=16, hidden=64, init="modern")
training = Training(epochs=8, schedule="cosine", warmup=0.05)
config = RunConfig(Data(Backwards(), draws=20_000), model, training, HyperConfig(lr=8e-3))
run = open_run(NAME) if is_run(locate(NAME)) else create(config, NAME)
run_to_end(run)  # twenty seconds on 2 cores, once
run.predict(["abcdef", "gab"])

# %%
viz.attention_figure(maps(run.attention(["abcdef", "hagfe", "ba"]), task=run.dataset.task))

# %%
assert run.evaluate().exact_match > 0.99
