"""Baseline, peeky and attention on dates, and whether attention needs the reversed question.

Claim     attention and peeky solve date conversion where the baseline does not; attention does not
          need the reversal
Source    Deep Learning from Scratch 2, figure 8-26
Command   seqgen sweep experiments.dates --seeds 0:5      (no test day stands in the training set)
          seqgen sweep experiments.dates --seeds 0:5 --split book --data FILE --name dates-book
Expected  attention and peeky 100 % by epoch 10
Time      75 to 85 minutes on 2 cores for each split: 20 runs of 3,510 steps in three compiled
          programs
"""

from seqgen import presets
from seqgen.config import RunConfig, Training
from seqgen.sweeps.spec import Sweep, chain, product
from seqgen.tasks.dataset import Data
from seqgen.tasks.dates import Dates

SEEDS = range(5)

DRAWS = 72_600
"""Give 44,937 training rows, without duplicates and without a test day among them: as many steps an
epoch as the book's.
"""


def base() -> RunConfig:
    """The book's settings; only the split is ours."""
    data = Data(Dates(), draws=DRAWS, padding="book", reverse=True)
    return RunConfig(data, presets.model("baseline", embedding=16, hidden=256), Training(epochs=10))


def variants() -> Sweep:
    """The book's three, reversed as there, and attention over the question as it is."""
    decoders = presets.decoders()
    reversed_ = {name: decoders[name] for name in ("baseline", "peeky", "attention")}
    as_it_is: Sweep = {"attention": {**decoders["attention"], "reverse": False}}
    return chain(product(reversed_, {"reverse": {}}), as_it_is)
