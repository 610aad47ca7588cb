"""The book's models from the book's own random numbers: what one draw of the table in
experiments/book.py is worth.

Claim     the book's load_data seeds NumPy with 1984, and its models and batches go on drawing from
          there: whoever runs its scripts as they stand repeats one draw, whatever seed they set
          before. From those numbers seqgen takes the book's steps until roundings part them; over
          seeds of its own, addition without reverse + peeky ends in widely different places
Command   python -m experiments.stream FOLDER          (FOLDER holds addition.txt and date.txt)
Expected  exact match after 25 epochs of addition of 7, 54, 81 and 98 %, where the book's code ends
          at 10, 43, 79 and 98 %; dates: 100 % by epoch 10
Time      about 8 minutes on 2 cores
"""

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
from seqgen.data.padding import encode
from seqgen.evaluation import alignment
from seqgen.evaluation.answers import evaluate
from seqgen.families import pairs
from seqgen.models import build
from seqgen.tasks.dataset import load
from seqgen.training.state import TrainState
from seqgen.training.steps import train_steps, zero_totals
from seqgen.types import Member
from tests.book_numpy import after_the_shuffle, batches, draw
from tests.oracles import from_book


def train(cell: str, folder: Path) -> dict[str, Any]:
    """Exact match on the test set after each epoch; and where a model with attention looks."""
    config = book.config(cell, folder, 0)
    dataset = load(config.data)
    tokenizer, padding, (examples, _, tests) = dataset.tokenizer, dataset.padding, dataset.splits
    random = after_the_shuffle(len(examples) + len(tests))
    model = build(config.model, dataset.sizes)
    program = pairs.program(config, dataset)
    rows = program.batches

    encoder, variant = config.model.encoder, book.CELLS[cell].model
    weights = draw(variant, len(tokenizer), encoder.embedding, encoder.hidden, random)
    params = jax.tree.map(jnp.asarray, from_book(variant, weights))
    member = Member(jax.random.key(0), config.hyper.traced())
    opt_state = program.optimizer(member.hyper).init(params)
    state = TrainState(jnp.int32(0), params, opt_state, ())
    steps = jax.jit(partial(train_steps, program), donate_argnames="state")

    data, order = jax.device_put(rows.data), batches(random, len(examples), config.training.batch)
    test, curve, span = encode(tests, tokenizer, padding), [], np.array([0, rows.steps], np.int32)
    for _ in range(config.training.epochs):
        items = np.stack(list(islice(order, rows.steps)))
        state, _ = steps(data, member, state=state, totals=zero_totals(), items=items, span=span)
        scores = evaluate(model, state.params, test, tokenizer=tokenizer, padding=padding)
        curve.append(scores.exact_match)
        print(f"{cell}  epoch {len(curve)}  exact match {scores.exact_match:.2%}", flush=True)
    if variant != "attention":
        return {"exact_match": curve}
    looks = alignment.forced_attention(model, state.params, test, padding)
    gold = alignment.gold_of(config.data.task, tests, padding, looks.shape[1:])
    return {"exact_match": curve, "alignment": as_json(alignment.scores(looks, gold))}


def main(folder: Annotated[Path, tyro.conf.Positional], /) -> None:
    """Train each of the book's models once and write results/stream.json.

    Args:
        folder: where addition.txt and date.txt are.

    """
    cells = {cell: train(cell, folder) for cell in book.CELLS}
    save("stream", {**provenance("python -m experiments.stream FOLDER"), "cells": cells})


if __name__ == "__main__":
    tyro.cli(main)
