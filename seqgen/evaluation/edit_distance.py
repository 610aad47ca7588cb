"""How far a guess is from the truth: insertions, deletions and substitutions."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import count

import numpy as np
from jaxtyping import Int

from seqgen.data.ragged import Ragged, filled, ragged


def edit_distance(guesses: Ragged, truths: Ragged) -> Int[np.ndarray, " N"]:
    """The least number of insertions, deletions and substitutions that make each guess its truth
    (Levenshtein 1966), by the rows of Wagner & Fischer (1974), all pairs at once.

    Kept is e[j] = d[j] - j, of the truth so far and the first j symbols of the guess: a symbol that
    is missing adds 1 to it, one that is too many 0, so that a running minimum counts these.
    """
    guess = filled(guesses, int(guesses.lengths.max(initial=0)), -1).T.copy()
    truth = filled(truths, int(truths.lengths.max(initial=0)), -1).T.copy()
    row = np.zeros((len(guess) + 1, guess.shape[1]), np.int32)
    for i, symbol in enumerate(truth):
        longer = row + 1
        np.minimum(longer[1:], row[:-1] - (guess == symbol), out=longer[1:])
        np.copyto(row, np.minimum.accumulate(longer, axis=0), where=i < truths.lengths)
    return row[guesses.lengths, np.arange(row.shape[1])] + guesses.lengths


def words_of(*sides: Sequence[str]) -> list[Ragged]:
    """What stands between the blanks of texts, as ids that all sides share."""
    ids: defaultdict[str, int] = defaultdict(count().__next__)
    return [ragged([[ids[word] for word in text.split()] for text in texts]) for texts in sides]
