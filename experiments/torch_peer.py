"""The same models in PyTorch, as its good users write them: what seqgen's speed is measured
against.

Same mathematics, shapes and batch; nn.LSTM over whole sequences in training. Only h passes from
encoder to decoder. `python -m experiments.torch_peer`, from the checkout's root, holds it to the
NumPy oracle of the tests.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from experiments.torch_update import update

BASELINE, PEEKY, ATTENTION = VARIANTS = ("baseline", "peeky", "attention")


class Seq2seq(nn.Module):
    """Embedding, nn.LSTM, and for the decoder nn.Linear.

    Peeky and attention widen what the decoder's parts read.

    Args:
        variant: one of `VARIANTS`.
        vocabulary: tokens.
        embedding: its width, on both sides.
        hidden: the width of both LSTMs.

    """

    def __init__(self, variant: str, vocabulary: int, embedding: int, hidden: int):
        super().__init__()
        self.variant = variant
        self.source_embedding = nn.Embedding(vocabulary, embedding)
        self.encoder = nn.LSTM(embedding, hidden, batch_first=True)
        self.target_embedding = nn.Embedding(vocabulary, embedding)
        self.decoder = nn.LSTM(embedding + hidden * (variant == PEEKY), hidden, batch_first=True)
        self.affine = nn.Linear(hidden * (1 + (variant != BASELINE)), vocabulary)

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor]:
        """All encoder states [B, S, H] and the last [1, B, H]."""
        memory, (h, _) = self.encoder(self.source_embedding(source))
        return memory, h

    def decode(
        self, memory: Tensor, last: Tensor, carry: tuple[Tensor, Tensor], inputs: Tensor
    ) -> tuple:
        """Logits [B, T, V] and the new carry, for one time as for a teacher-forced sequence.

        Args:
            memory: all encoder states [B, S, H].
            last: that of the last time [1, B, H].
            carry: the decoder's h and c.
            inputs: tokens [B, T].

        """
        x = self.target_embedding(inputs)
        peek = last.transpose(0, 1).expand(-1, x.shape[1], -1)
        y, carry = self.decoder(torch.cat([peek, x], 2) if self.variant == PEEKY else x, carry)
        if self.variant == PEEKY:
            y = torch.cat([peek, y], 2)
        if self.variant == ATTENTION:
            weights = torch.bmm(y, memory.transpose(1, 2)).softmax(2)
            y = torch.cat([torch.bmm(weights, memory), y], 2)
        return self.affine(y), carry

    def forward(self, source: Tensor, inputs: Tensor) -> Tensor:
        """Teacher-forced logits [B, T, V]."""
        memory, h = self.encode(source)
        return self.decode(memory, h, (h, torch.zeros_like(h)), inputs)[0]


def build(variant: str, vocabulary: int, embedding: int, hidden: int) -> Seq2seq:
    """A model with PyTorch's own initial values.

    Args:
        variant: one of `VARIANTS`.
        vocabulary: tokens.
        embedding: its width, on both sides.
        hidden: the width of both LSTMs.

    """
    return Seq2seq(variant, vocabulary, embedding, hidden)


def optimizer(model: nn.Module, lr: float = 1e-3) -> torch.optim.Adam:
    """Fused Adam: the fastest that PyTorch has, on a CPU too."""
    return torch.optim.Adam(model.parameters(), lr=lr, fused=True)


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    source: Tensor,
    inputs: Tensor,
    targets: Tensor,
    *,
    clip: float = 5.0,
    bfloat16: bool = False,
) -> Tensor:
    """One update on the mean cross entropy over all tokens.

    The loss stays a tensor, so that nothing waits for it.

    Args:
        model: what trains.
        optimizer: of its parameters.
        source: questions [B, S].
        inputs: what the decoder reads [B, T].
        targets: what it should write [B, T].
        clip: longer gradients are scaled down to this norm.
        bfloat16: whether products are taken in bfloat16, by autocast.

    """
    with torch.autocast(source.device.type, dtype=torch.bfloat16, enabled=bfloat16):
        loss = functional.cross_entropy(model(source, inputs).flatten(0, 1), targets.flatten())
    return update(model, optimizer, loss, clip)


@torch.inference_mode()
def greedy(
    model: Seq2seq, source: Tensor, start_id: int, steps: int, *, batch: int = 500
) -> Tensor:
    """The most likely tokens [N, steps] after start_id.

    Measured for 5,000 rows: batches of 500 took about 0.75 of the time of all at once, and the step
    of nn.LSTMCell (`torch.lstm_cell` with the same weights) was no faster than nn.LSTM of one step.

    Args:
        model: what answers.
        source: questions [N, S].
        start_id: the first token to read.
        steps: tokens to write.
        batch: rows at once.

    """
    return torch.cat([_greedy(model, rows, start_id, steps) for rows in source.split(batch)])


def _greedy(model: Seq2seq, source: Tensor, start_id: int, steps: int) -> Tensor:
    memory, h = model.encode(source)
    carry, token, tokens = (h, torch.zeros_like(h)), source.new_full((len(source), 1), start_id), []
    for _ in range(steps):
        logits, carry = model.decode(memory, h, carry, token)
        token = logits.argmax(2)
        tokens.append(token)
    return torch.cat(tokens, 1)


Carry = tuple[Tensor, Tensor]


class LanguageModel(nn.Module):
    """Embedding, nn.LSTM, nn.Linear; time-major, as nn.LSTM is fastest."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int):
        super().__init__()
        self.embedding, self.lstm = nn.Embedding(vocabulary, embedding), nn.LSTM(embedding, hidden)
        self.affine = nn.Linear(hidden, vocabulary)

    def blank(self, rows: int) -> Carry:
        """The carry before the first token."""
        shape = 1, rows, self.lstm.hidden_size
        return torch.zeros(shape), torch.zeros(shape)

    def forward(self, inputs: Tensor, carry: Carry) -> tuple[Tensor, Carry]:
        """Logits [T, B, V] and the new carry."""
        y, carry = self.lstm(self.embedding(inputs), carry)
        return self.affine(y), carry


def language_model_step(
    model: LanguageModel,
    optimizer: torch.optim.Optimizer,
    carry: Carry,
    inputs: Tensor,
    targets: Tensor,
    clip: float,
) -> Carry:
    """One update on a window; the carry goes on without its history.

    Args:
        model: what trains.
        optimizer: of its parameters.
        carry: h and c before the window.
        inputs: tokens [T, B].
        targets: the next ones.
        clip: longer gradients are scaled down to this norm.

    """
    logits, (h, c) = model(inputs, carry)
    loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
    update(model, optimizer, loss, clip)
    return h.detach(), c.detach()


class Writer(nn.Module):
    """Embedding, nn.LSTMCell, nn.Linear."""

    def __init__(self, vocabulary: int, embedding: int, hidden: int):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, embedding)
        self.cell = nn.LSTMCell(embedding, hidden)
        self.affine = nn.Linear(hidden, vocabulary)

    @torch.inference_mode()
    def write(self, rows: int, length: int, top_p: float | None) -> Tensor:
        """Tokens [rows, length], drawn; with top_p by a sort, as is usual."""
        h = c = self.affine.weight.new_zeros(rows, self.cell.hidden_size)
        token, tokens = h.new_zeros(rows, dtype=torch.long), []
        for _ in range(length):
            h, c = self.cell(self.embedding(token), (h, c))
            p = self.affine(h).softmax(1)
            if top_p is None:
                token = torch.multinomial(p, 1)[:, 0]
            else:
                best, order = p.sort(1, descending=True)
                kept = best.masked_fill(best.cumsum(1) - best >= top_p, 0.0)
                token = order.gather(1, torch.multinomial(kept, 1))[:, 0]
            tokens.append(token)
        return torch.stack(tokens, 1)


@torch.no_grad()
def load_book(model: Seq2seq, variant: str, params: list) -> Seq2seq:
    """The oracle's parameters.

    Gates f, g, i, o become i, f, g, o; matrices are transposed; the second bias is zero.
    """
    assert variant == model.variant

    def gates(a: Tensor) -> Tensor:
        forget, candidate, write, show = a.movedim(-1, 0).chunk(4)
        return torch.cat([write, forget, candidate, show])

    encoder, decoder, (W, bias) = (
        [torch.as_tensor(p) for p in part] for part in (params[:4], params[4:8], params[8:])
    )
    for embedding, lstm, (embed, Wx, Wh, b) in (
        (model.source_embedding, model.encoder, encoder),
        (model.target_embedding, model.decoder, decoder),
    ):
        embedding.weight.copy_(embed)
        lstm.weight_ih_l0.copy_(gates(Wx))
        lstm.weight_hh_l0.copy_(gates(Wh))
        lstm.bias_ih_l0.copy_(gates(b))
        lstm.bias_hh_l0.zero_()
    model.affine.weight.copy_(W.T)
    model.affine.bias.copy_(bias)
    return model


def check(variant: str) -> dict[str, float]:
    """How far it is from the oracle: largest differences, and the share of greedy tokens that
    differ.
    """
    from tests import book_numpy as book

    random = np.random.RandomState(0)
    params = [random.randn(*p.shape).astype("f") / 3 for p in book.draw(variant, 13, 7, 12, random)]
    source, target = random.randint(13, size=(32, 5)), random.randint(13, size=(32, 4))
    inputs, answer = torch.as_tensor(target[:, :-1]), torch.as_tensor(target[:, 1:])

    model = load_book(build(variant, 13, 7, 12), variant, params)
    logits = model(torch.as_tensor(source), inputs)
    functional.cross_entropy(logits.flatten(0, 1), answer.flatten()).backward()
    tokens = greedy(model, torch.as_tensor(source), 3, 6).numpy()

    expected, _ = book.forward(variant, params, source, target[:, :-1])
    _, grads = book.loss_and_gradients(variant, params, source, target)
    parts = {"source": (model.source_embedding, 0), "target": (model.target_embedding, 4)}
    return {
        "logits": np.abs(logits.detach().numpy() - expected).max(),
        **{
            f"{name} embedding's gradient": np.abs(part.weight.grad.numpy() - grads[i]).max()
            for name, (part, i) in parts.items()
        },
        "greedy tokens": (tokens != book.greedy(variant, params, source, 3, 6)).mean(),
    }


if __name__ == "__main__":
    for variant in VARIANTS:
        differences = check(variant)
        words = (f"{name} {value:.1e}" for name, value in differences.items())
        print(f"{variant:9}", ", ".join(words))
        assert max(differences.values()) < 1e-5
