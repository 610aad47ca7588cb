"""A recipe for leak-free dates that never errs: 100.0 % of the test questions, for every seed.

Claim     attention over true lengths, reversed, answers every question of the test set in each of
          five seeds
Source    none: the book trains for ten epochs at one setting
Command   seqgen sweep experiments.search_dates --seeds 100:103
          (scored on the validation split; test scores unread)
          seqgen sweep experiments.search_dates --only 6-epochs --only 10-epochs-batch-64
          --seeds 0:5 --name best-dates
Expected  100 % on validation for several, so that the loss decides: six epochs at first, then ten
          in smaller batches
Time      13 minutes on 2 cores for the search, 2 for the chosen one
"""

from seqgen import presets
from seqgen.config import RunConfig
from seqgen.sweeps.spec import Sweep, chain, product

SEEDS = range(100, 103)


def base() -> RunConfig:
    """What `make train` trains."""
    return presets.preset("dates", "attention")


def variants() -> Sweep:
    """Fewer and more epochs, half the rate, a question that is not reversed.

    Then dropout and smaller batches.
    """
    epochs: Sweep = {f"{n}-epochs": {"epochs": n} for n in (2, 3, 4, 6)}
    rates: Sweep = {"": {}, "rate-4e-3": {"lr": 4e-3}}
    longer: Sweep = {f"{n}-epochs": {"epochs": n} for n in (6, 10)}
    steadier: Sweep = {"dropout": {"dropout": 0.05}, "batch-64": {"batch": 64}}
    return chain(
        product(epochs, rates, {"": {}, "as-it-is": {"reverse": False}}),
        {"10-epochs": {"epochs": 10}},
        product(longer, steadier),
    )
