"""BLEU (Papineni et al. 2002) and chrF (Popović 2015) of texts, as sacrebleu has them (Post 2018).

They are from 0 to 100.
"""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any, Literal

import numpy as np

from seqgen.errors import SeqgenError
from seqgen.evaluation.outcomes import Statistic, Sums, Values

MetricName = Literal["bleu", "chrf"]

METRICS: dict[str, str] = {"bleu": "BLEU", "chrf": "chrF"}
"""How they are written."""


def label(name: str) -> str:
    """A score's name as a terminal shows it."""
    return METRICS.get(name, name.replace("_", " "))


def text_metrics(
    names: Sequence[MetricName], guesses: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, Statistic]:
    """Metrics by name, with sacrebleu's signatures: each guess beside its one or more references.

    Raises:
        SeqgenError: without sacrebleu.

    """
    return {name: _statistic(_metric(name), guesses, references) for name in dict.fromkeys(names)}


def _metric(name: MetricName) -> Any:
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise SeqgenError(
            f"{label(name)} needs sacrebleu, which is not installed: pip install 'seqgen[eval]'"
        ) from error
    return {"bleu": BLEU, "chrf": CHRF}[name]()


def _statistic(
    metric: Any, guesses: Sequence[str], references: Sequence[Sequence[str]]
) -> Statistic:
    """The counts of each example; sacrebleu's own bootstrap sums them as well."""
    streams = list(zip_longest(*references))  # None: an example with fewer
    parts = metric._extract_corpus_statistics(guesses, streams)

    def of(sums: Sums) -> Values:
        return np.array([metric._compute_score_from_stats(row).score for row in sums.tolist()])

    signature = str(metric.get_signature())
    return Statistic(np.array(parts, np.float64), of, True, ".2f", signature)
