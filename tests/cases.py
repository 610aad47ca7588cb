"""Variants of every architecture with live weights and a batch: what the contract is tested on."""

from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqgen.models import ARCHITECTURES, build, rnn_language_model
from seqgen.types import Batch, Out
from tests import oracles
from tests.oracles import SIZES, V, live_params

B, S, T, D, H = 8, 4, 6, 7, 12
LENGTHS = np.array([4, 2, 3, 1, 4, 3, 2, 1], np.int32)
PAST = np.arange(S) >= LENGTHS[:, None]


def language_model(cell="lstm", layers=1, **options) -> rnn_language_model.Config:
    """Sizes that all differ; a tied output needs two of them alike."""
    width = H if options.get("tied") else D
    return rnn_language_model.Config(width, H, layers, cell, **options)


LANGUAGE_MODELS = {
    "lstm, tied": language_model(tied=True),
    "two lstms": language_model(layers=2),
    "gru": language_model("gru"),
    "two grus, tied": language_model("gru", 2, tied=True),
    "rnn, tied": language_model("rnn", tied=True),
    "two rnns": language_model("rnn", 2),
}

CONFIGS = {
    **{f"seq2seq: {name}": cfg for name, cfg in oracles.VARIANTS.items()},
    **{f"language model: {name}": cfg for name, cfg in LANGUAGE_MODELS.items()},
}


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.float32(np.random.default_rng([seed, *shape]).normal(size=shape) * 0.7)


def close(actual, expected, tolerance: float) -> None:
    """Every leaf, relative to the largest entry of the expected one."""
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    pairs = zip(jax.tree.leaves_with_path(expected), jax.tree.leaves(actual), strict=True)
    for (path, e), a in pairs:
        bound = tolerance * max(1, np.abs(e).max(initial=0))
        np.testing.assert_allclose(a, e, rtol=0, atol=bound, err_msg=jax.tree_util.keystr(path))


def rows_of(tree, rows):
    """Some rows of every leaf."""
    return jax.tree.map(lambda leaf: leaf[rows], tree)


class Pulled(NamedTuple):
    """What `apply` gives, and the gradients of its parameters and of its carry."""

    out: Out
    after: Any
    params: Any
    carry: Any


@partial(jax.jit, static_argnums=0)
def pulled(model, params, batch, carry, pulls, dropout_state=None) -> Pulled:
    """With the gradients of Σ pull · leaf over the logits and the carry after: with suitable pulls,
    of any loss.
    """

    def total(params, carry):
        after, out = model.apply(params, batch, carry, dropout_state)
        return weighed((out.logits, after), pulls), (out, after)

    grads, (out, after) = jax.grad(total, argnums=(0, 1), has_aux=True)(params, carry)
    return Pulled(out, after, *grads)


def weighed(made, pulls):
    pairs = zip(jax.tree.leaves(made), pulls, strict=True)
    return sum(jnp.sum(leaf * pull) for leaf, pull in pairs)


@partial(jax.jit, static_argnums=0)
def forward(model, params, batch, carry) -> tuple[Any, Out]:
    """`apply`, compiled."""
    return model.apply(params, batch, carry, None)


def stepped(case: "Case") -> Pulled:
    """As `case.result`, but `step` over Python's loop, operation by operation; its aux is that of
    steps.
    """
    given = case.params, case.batch, case.carry, case.pulls
    params, batch, carry, pulls = jax.tree.map(jnp.asarray, given)

    def total(params, carry):
        memory, carry = case.begin(params, batch, carry)
        outs = []
        for t in range(T):
            carry, out = case.model.step(params, memory, carry, batch.inputs[:, t])
            outs.append(out)
        out = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *outs)
        after = case.crosses(carry)
        return weighed((out.logits, after), pulls), (out, after)

    with jax.disable_jit():
        grads, (out, after) = jax.grad(total, argnums=(0, 1), has_aux=True)(params, carry)
    return Pulled(out, after, *grads)


class Case:
    """A variant with live parameters, one batch and the carry with which it comes; what several
    tests look at is computed once.
    """

    batch: Batch

    def __init__(self, name: str) -> None:
        self.cfg = CONFIGS[name]
        self.model, self.params = build(self.cfg, SIZES), live_params(self.cfg)
        self.carry = self.live_carry()
        carries = jax.tree.leaves(self.carry)
        further = (normal(21 + i, *leaf.shape) for i, leaf in enumerate(carries))
        self.pulls = normal(20, B, T, V), *further

    def live_carry(self, rows: int = B, seed: int = 0):
        """Every entry of every row another one."""
        like = jax.eval_shape(lambda params: self.model.initial_state(params, rows), self.params)
        leaves, structure = jax.tree.flatten(like)
        live = [normal(10 * seed + i, *leaf.shape) for i, leaf in enumerate(leaves)]
        return jax.tree.unflatten(structure, live)

    def run(self, params=None, batch=None, carry=None, pulls=None, dropout_state=None) -> Pulled:
        """`pulled`, of what is given instead of the case's own."""
        own = self.params, self.batch, self.carry, self.pulls
        given = zip((params, batch, carry, pulls), own, strict=True)
        arguments = [mine if other is None else other for other, mine in given]
        return pulled(self.model, *arguments, dropout_state)

    @cached_property
    def result(self) -> Pulled:
        return self.run()


class PairsCase(Case):
    """Questions and answers, both ragged, padding filled with tokens like any other."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.batch = pairs_batch()
        decoder = self.cfg.decoder
        self.heads = [name for name in decoder.inputs + decoder.outputs if name != "context"]

    def begin(self, params, batch: Batch, carry):
        """What decoding begins with."""
        start = self.model.start(params, batch.source, batch.length, capacity=T)
        return start.memory, start.carry

    def first(self):
        """The token that `start` says to read first, after `prompts`."""
        return np.full(B, SIZES.special.bos)

    def crosses(self, carry):
        """What crosses batches of the carry that steps leave."""
        return ()

    def another(self) -> Batch:
        """Other values in the same shapes."""
        return pairs_batch(4, LENGTHS[::-1].copy())

    def prompts(self):
        """What `start` reads: ragged rows, and their lengths."""
        return self.batch.source, LENGTHS

    def tables(self) -> dict[str, np.ndarray]:
        """By the path of an embedding: which of its rows the batch reads."""
        read = {".encoder": self.batch.source[~PAST], ".decoder": self.batch.inputs}
        return {path: np.isin(np.arange(V), tokens) for path, tokens in read.items()}

    def apart(self, row: int) -> tuple[Any, Batch]:
        """Parameters and a batch in which every position of a row has a token of its own."""
        own, other = np.arange(T), np.arange(T, V)
        random = np.random.default_rng(2)
        source, inputs = (np.int32(random.choice(other, size=(B, n))) for n in (S, T))
        source[row], inputs[row] = own[:S], own
        return self.params, self.batch._replace(source=source, inputs=inputs)

    def heard(self, row: int, t: int) -> dict[str, np.ndarray]:
        """By the path of an embedding: the rows that reach the logits of time t, in `apart`."""
        return {".encoder": np.arange(V) < LENGTHS[row], ".decoder": np.arange(V) <= t}

    def lesson(self) -> Batch:
        """Eight answers that begin differently, their first inputs all alike."""
        random = np.random.default_rng(7)
        targets = np.int32(random.integers(V, size=(B, T)))
        targets[:, 0] = random.permutation(V)[:B]
        first = np.full((B, 1), SIZES.special.bos, np.int32)
        inputs = np.concatenate([first, targets[:, :-1]], axis=1)
        return self.batch._replace(inputs=inputs, targets=targets)


class TextCase(Case):
    """Lanes of a text; one token never stands in it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.batch = text_batch(np.random.default_rng(0).integers(V - 1, size=(B, T + 1)))

    def begin(self, params, batch: Batch, carry):
        """What writing begins with."""
        return self.model.start(params, batch.inputs, None, capacity=T).memory, carry

    def first(self):
        """The token that `start` says to read first, after `prompts`."""
        tokens, lengths = self.prompts()
        return tokens[np.arange(B), lengths - 1]

    def crosses(self, carry):
        """All of it."""
        return carry

    def another(self) -> Batch:
        """Other values in the same shapes."""
        return text_batch(np.random.default_rng(4).integers(V, size=(B, T + 1)))

    def prompts(self):
        """What `start` reads: ragged rows, and their lengths."""
        return self.batch.inputs[:, :S], LENGTHS

    def tables(self) -> dict[str, np.ndarray]:
        """By the path of an embedding: which of its rows the batch reads, or the output does."""
        read = np.isin(np.arange(V), self.batch.inputs)
        assert not read.all()
        return {".embedding": read | self.cfg.tied}

    def apart(self, row: int) -> tuple[Any, Batch]:
        """Parameters, the output's apart from the embedding's, and a batch in which every position
        of a row has a token of its own.
        """
        inputs = np.int32(np.random.default_rng(2).choice(np.arange(T, V), size=(B, T)))
        inputs[row] = np.arange(T)
        return self.params._replace(w=normal(5, H, V)), self.batch._replace(inputs=inputs)

    def heard(self, row: int, t: int) -> dict[str, np.ndarray]:
        """By the path of an embedding: the rows that reach the logits of time t, in `apart`."""
        return {".embedding": np.arange(V) <= t}

    def lesson(self) -> Batch:
        """Eight sequences; what tells them apart for sure is their first tokens alone."""
        random = np.random.default_rng(7)
        tokens = random.integers(V, size=(B, T + 1))
        tokens[:, 0] = random.permutation(V)[:B]
        return text_batch(tokens)


CASES = {"pairs": PairsCase, "text": TextCase}


def case_of(name: str) -> Case:
    """The case of a variant."""
    return CASES[ARCHITECTURES[type(CONFIGS[name])].family](name)


def pairs_batch(seed: int = 0, length=LENGTHS) -> Batch:
    """Rows that differ everywhere."""
    random = np.random.default_rng(seed)
    source, tokens = random.integers(V, size=(B, S)), random.integers(V, size=(B, T + 1))
    mask = np.arange(T) < random.integers(2, T + 1, size=B)[:, None]
    return Batch(np.int32(source), length, np.int32(tokens[:, :-1]), np.int32(tokens[:, 1:]), mask)


def text_batch(tokens: np.ndarray) -> Batch:
    """Tokens [B, T + 1] as inputs and the targets one step later."""
    tokens = np.int32(tokens)
    return Batch(None, None, tokens[:, :-1], tokens[:, 1:], np.ones(tokens[:, 1:].shape, bool))
