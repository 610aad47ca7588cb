"""Attention over sentences of different lengths in PyTorch, with packed sequences.

Same mathematics as seqgen's attention model; rows of a batch are sorted by the source's length, so
that nothing is sorted anew, and the readout sees the targets that count alone. `python -m
experiments.torch_packed`, from the checkout's root, holds it to seqgen's own model.
"""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from experiments.torch_update import update
from seqgen.types import Batch


class Sentences(NamedTuple):
    """A batch, its longest source first; lengths stay on the CPU, as packing wants them."""

    source: Tensor
    length: Tensor
    inputs: Tensor
    targets: Tensor
    answer: Tensor


def sentences(batch: Batch) -> Sentences:
    """A batch of ours; rows that no target counts are left out."""
    answer = np.asarray(batch.mask).sum(1)
    order = np.argsort(-np.asarray(batch.length), kind="stable")
    order = order[answer[order] > 0]
    wide, long = np.asarray(batch.length)[order].max(), answer[order].max()

    def rows(array: Any, width: int) -> Tensor:
        return torch.as_tensor(np.asarray(array)[order, :width]).long()

    return Sentences(
        rows(batch.source, wide),
        torch.as_tensor(np.asarray(batch.length)[order]).long().cpu(),
        rows(batch.inputs, long),
        rows(batch.targets, long),
        torch.as_tensor(answer[order]).long().cpu(),
    )


class PackedAttention(nn.Module):
    """Embeddings, two nn.LSTM over packed sequences, dot attention, nn.Linear.

    Args:
        source: tokens of the source's vocabulary.
        target: tokens of the target's.
        embedding: its width, on both sides.
        hidden: the width of both LSTMs.

    """

    def __init__(self, source: int, target: int, embedding: int, hidden: int):
        super().__init__()
        self.source_embedding = nn.Embedding(source, embedding)
        self.encoder = nn.LSTM(embedding, hidden, batch_first=True)
        self.target_embedding = nn.Embedding(target, embedding)
        self.decoder = nn.LSTM(embedding, hidden, batch_first=True)
        self.affine = nn.Linear(2 * hidden, target)

    def encode(self, source: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """All encoder states [B, S, H], where they are padding [B, 1, S], the last [1, B, H]."""
        packed = pack_padded_sequence(self.source_embedding(source), length, batch_first=True)
        states, (h, _) = self.encoder(packed)
        memory, _ = pad_packed_sequence(states, batch_first=True)
        blank = torch.arange(memory.shape[1]) >= length[:, None]
        return memory, blank[:, None].to(source.device), h

    def attend(self, y: Tensor, memory: Tensor, blank: Tensor) -> Tensor:
        """Context vectors and decoder states [B, T, 2H]."""
        scores = torch.bmm(y, memory.transpose(1, 2)).masked_fill(blank, -torch.inf)
        return torch.cat([torch.bmm(scores.softmax(2), memory), y], 2)

    def forward(self, batch: Sentences) -> tuple[Tensor, Tensor]:
        """Teacher-forced logits [N, V] and the N targets that count."""
        memory, blank, h = self.encode(batch.source, batch.length)
        packed = pack_padded_sequence(
            self.target_embedding(batch.inputs),
            batch.answer,
            batch_first=True,
            enforce_sorted=False,
        )
        states, _ = self.decoder(packed, (h, torch.zeros_like(h)))
        y, _ = pad_packed_sequence(states, batch_first=True)
        counts = (torch.arange(y.shape[1]) < batch.answer[:, None]).to(y.device)
        return self.affine(self.attend(y, memory, blank)[counts]), batch.targets[counts]

    @torch.inference_mode()
    def greedy(self, batch: Sentences, *, start: int, end: int, limit: int) -> Tensor:
        """The most likely tokens [B, T], T at most `limit`; -1 stands after `end`.

        Args:
            batch: whose sources are read.
            start: the first token to read.
            end: the token that ends an answer.
            limit: the most tokens of one.

        """
        memory, blank, h = self.encode(batch.source, batch.length)
        carry, token = (h, torch.zeros_like(h)), batch.source.new_full((len(blank), 1), start)
        over, tokens = torch.zeros_like(token, dtype=torch.bool), []
        for _ in range(limit):
            y, carry = self.decoder(self.target_embedding(token), carry)
            token = self.affine(self.attend(y, memory, blank)).argmax(2)
            tokens.append(token.masked_fill(over, -1))
            over = over | (token == end)
            if over.all():
                break
        return torch.cat(tokens, 1)


def train_step(
    model: PackedAttention, optimizer: torch.optim.Optimizer, batch: Sentences, clip: float = 5.0
) -> Tensor:
    """One update on the mean cross entropy over the targets that count.

    The loss stays a tensor, so that nothing waits for it.

    Args:
        model: what trains.
        optimizer: of its parameters.
        batch: on what.
        clip: longer gradients are scaled down to this norm.

    """
    return update(model, optimizer, functional.cross_entropy(*model(batch)), clip)


@torch.no_grad()
def with_weights(model: PackedAttention, params: Any) -> PackedAttention:
    """The weights of seqgen's model: gates f, g, i, o become i, f, g, o, the second bias is 0."""

    def gates(array: Any) -> Tensor:
        forget, candidate, write, show = torch.tensor(np.asarray(array)).movedim(-1, 0).chunk(4)
        return torch.cat([write, forget, candidate, show])

    for embedding, lstm, part in (
        (model.source_embedding, model.encoder, params.encoder),
        (model.target_embedding, model.decoder, params.decoder),
    ):
        embedding.weight.copy_(torch.tensor(np.asarray(part.embedding)))
        w = gates(part.cell.w)
        lstm.weight_ih_l0.copy_(w[:, : embedding.embedding_dim])
        lstm.weight_hh_l0.copy_(w[:, embedding.embedding_dim :])
        lstm.bias_ih_l0.copy_(gates(part.cell.b))
        lstm.bias_hh_l0.zero_()
    model.affine.weight.copy_(torch.tensor(np.asarray(params.decoder.affine.w)).T)
    model.affine.bias.copy_(torch.tensor(np.asarray(params.decoder.affine.b)))
    return model


def check() -> dict[str, float]:
    """How far it is from seqgen's model on random rows: the loss, a gradient, greedy tokens."""
    import jax
    import jax.numpy as jnp

    from seqgen import presets
    from seqgen.decoding.generate import generate
    from seqgen.models import build
    from seqgen.training.objective import teacher_forced
    from seqgen.types import Sizes, Special

    random, rows, S, T = np.random.default_rng(0), 32, 9, 7
    ours = build(
        presets.model("attention", embedding=5, hidden=12, init="modern"),
        Sizes(17, 19, Special(0, 1, 2, 3)),
    )
    params = jax.tree.map(lambda leaf: 3 * leaf, ours.init(jax.random.key(1)))
    length, answer = random.integers(1, S + 1, rows), random.integers(1, T + 1, rows)
    batch = Batch(
        random.integers(4, 17, (rows, S)).astype(np.int32),
        length.astype(np.int32),
        random.integers(4, 19, (rows, T)).astype(np.int32),
        random.integers(4, 19, (rows, T)).astype(np.int32),
        np.arange(T) < answer[:, None],
    )
    loss, gradient = jax.value_and_grad(lambda p: teacher_forced(ours)(p, (), batch, None)[0])(
        params
    )
    start = ours.start(params, jnp.asarray(batch.source), jnp.asarray(batch.length), capacity=T)
    made = generate(lambda *given: ours.step(params, *given), start, limit=T, end=2).tokens

    theirs = with_weights(PackedAttention(17, 19, 5, 12), params)
    given = sentences(batch)
    found = functional.cross_entropy(*theirs(given))
    found.backward()
    tokens = theirs.greedy(given, start=1, end=2, limit=T).numpy()
    own = np.asarray(made)[np.argsort(-length, kind="stable")]
    embedding = theirs.source_embedding.weight.grad.numpy()
    return {
        "loss": abs(float(found.detach()) - float(loss)),
        "source embedding's gradient": np.abs(embedding - gradient.encoder.embedding).max(),
        "greedy tokens": (tokens != own[:, : tokens.shape[1]]).mean(),
    }


if __name__ == "__main__":
    differences = check()
    print(", ".join(f"{name} {value:.1e}" for name, value in differences.items()))
    assert max(differences.values()) < 1e-5
