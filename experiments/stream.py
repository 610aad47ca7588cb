"""The book's models from the book's own random numbers: what one draw of the table in experiments/book.py is worth.

Claim     the book's load_data seeds NumPy with 1984, and its models and batches go on drawing from there: whoever runs its
          scripts as they stand repeats one draw, whatever seed they set before. From those numbers seqgen takes
          the book's steps until roundings part them; over seeds of its own, addition without reverse + peeky ends in widely
          different places
Command   python -m experiments.stream FOLDER          (FOLDER holds addition.txt and date.txt)
Expected  exact match after 25 epochs of addition of 7, 54, 81 and 98 %, where the book's code ends at 10, 43, 79 and 98 %;
          dates: 100 % by epoch 10
Time      about 8 minutes on 2 cores
"""

from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments import book
from experiments.alignment import as_json
from experiments.records import provenance, save
from seqgen import alignment, evaluation
from seqgen.models import seq2seq
from seqgen.tasks.book import load_book_file
from seqgen.tasks.dataset import load
from seqgen.tasks.task import Layout
from seqgen.training.chunk import SUMS, run_chunk, zero_totals
from seqgen.training.objective import teacher_forced
from seqgen.training.source import Epochs
from seqgen.training.state import TrainState, adam
from seqgen.types import Batch, Member
from tests.book_numpy import after_the_shuffle, batches, draw
from tests.oracles import from_book


def batch(x: np.ndarray, t: np.ndarray, reverse: bool) -> Batch:
    """Rows of the book's arrays."""
    return Batch(x[:, ::-1] if reverse else x, None, t[:, :-1], t[:, 1:], np.ones_like(t[:, 1:], bool))


def train(cell: str, folder: Path) -> dict[str, Any]:
    """Exact match on the test set after each epoch; and where the trained model looks, if it has attention."""
    task, variant, reverse, _ = book.CELLS[cell]
    config, data = book.config(cell, folder, 0), load_book_file(folder / book.FILES[task])
    random, vocabulary = after_the_shuffle(len(data.x_train) + len(data.x_test)), data.vocabulary
    cfg = replace(config.model, vocabulary=len(vocabulary), delimiter=vocabulary.ids["_"])
    layout = Layout("book", reverse, data.x_test.shape[1], data.t_test.shape[1] - 1)

    weights = draw(variant, cfg.vocabulary, cfg.encoder.embedding, cfg.encoder.hidden, random)
    params = jax.tree.map(jnp.asarray, from_book(variant, weights))
    member, optimizer = Member(jax.random.key(0), config.hyper.traced()), adam("constant", 0.0, 1)
    state = TrainState(jnp.int32(0), params, optimizer(member.hyper).init(params), ())
    source = Epochs(len(data.x_train), config.training.batch)
    chunk = jax.jit(partial(run_chunk, teacher_forced(seq2seq, cfg), optimizer, source), donate_argnames="state")

    rows, order = jax.device_put(batch(data.x_train, data.t_train, reverse)), batches(random, source.examples, source.batch)
    test, curve = batch(data.x_test, data.t_test, reverse), []
    for _ in range(config.training.epochs):
        items, span = np.stack(list(islice(order, source.steps))), np.array([0, source.steps], np.int32)
        state, _ = chunk(rows, member, state=state, totals=zero_totals(SUMS), items=items, span=span)
        scores, _ = evaluation.evaluate(seq2seq, cfg, state.params, test, vocabulary, layout)
        curve.append(scores.exact_match)
        print(f"{cell}  epoch {len(curve)}  exact match {scores.exact_match:.2%}", flush=True)
    if variant != "attention":
        return {"exact_match": curve}
    weights = alignment.forced_attention(seq2seq, cfg, state.params, test, layout)
    gold = alignment.gold_of(config.data.task, load(config.data).splits.test, layout, weights.shape[1:])
    return {"exact_match": curve, "alignment": as_json(alignment.scores(weights, gold))}


def main(folder: Annotated[Path, tyro.conf.Positional], /) -> None:
    """Train each of the book's models once and write results/stream.json.

    Args:
        folder: where addition.txt and date.txt are.

    """
    cells = {cell: train(cell, folder) for cell in book.CELLS}
    save("stream", {**provenance("python -m experiments.stream FOLDER"), "cells": cells})


if __name__ == "__main__":
    tyro.cli(main)
