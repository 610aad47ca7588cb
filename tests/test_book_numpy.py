"""The NumPy oracle, checked against what is more certain than itself: differences, arithmetic, and
the book's sizes.
"""

import itertools
import math

import numpy as np
import pytest

from tests import book_numpy as book

B, S, T, D, H, V = 2, 3, 5, 4, 6, 7


def example(variant: str) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Parameters of the size of one with live biases, and rows in which some tokens come twice,
    others never.
    """
    random = np.random.RandomState(0)
    params = [random.randn(*p.shape) / 2 for p in book.draw(variant, V, D, H, random, dtype="d")]
    return params, random.randint(V - 1, size=(B, S)), random.randint(V - 1, size=(B, T + 1))


@pytest.mark.parametrize("variant", book.VARIANTS)
def test_gradients_equal_central_differences(variant):
    """Fails when any term of the backward pass is lost: a peeky h summed over fewer steps,
    attention's path to the memory, a token that occurs twice written instead of added, gates in the
    wrong order.
    """
    params, source, target = example(variant)
    _, grads = book.loss_and_gradients(variant, params, source, target)
    step = 1e-6
    for p, g in zip(params, grads, strict=True):
        expected = np.zeros_like(p)
        for at in np.ndindex(p.shape):
            middle, sides = p[at], []
            for p[at] in (middle + step, middle - step):
                sides.append(book.loss_and_gradients(variant, params, source, target)[0])
            p[at], expected[at] = middle, (sides[0] - sides[1]) / (2 * step)
        np.testing.assert_allclose(g, expected, atol=1e-8, rtol=1e-6)
        assert np.abs(g).max() > 1e-5


@pytest.mark.parametrize("variant", book.VARIANTS)
def test_one_row_in_scalars(variant):
    """Fails when forward and backward agree on a wrong model: gates in torch's order, c passed on,
    peeky's parts swapped.
    """
    params, source, target = example(variant)
    embed, Wx, Wh, b, embed_out, Wx_out, Wh_out, b_out, W, bias = params
    memory, h, c = [], np.zeros(H), np.zeros(H)

    def cell(x, h, c, Wx, Wh, b):
        a = [x @ Wx[:, k] + h @ Wh[:, k] + b[k] for k in range(4 * H)]
        forget, candidate, write, show = a[:H], a[H : 2 * H], a[2 * H : 3 * H], a[3 * H :]
        gate = np.vectorize(lambda a: 1 / (1 + math.exp(-a)))
        c = gate(forget) * c + gate(write) * np.tanh(candidate)
        return gate(show) * np.tanh(c), c

    for token in source[1]:
        h, c = cell(embed[token], h, c, Wx, Wh, b)
        memory.append(h)
    last, c, logits = h, np.zeros(H), []
    for token in target[1, :-1]:
        h, c = cell(
            np.r_[last, embed_out[token]] if variant == "peeky" else embed_out[token],
            h,
            c,
            Wx_out,
            Wh_out,
            b_out,
        )
        power = [math.exp(h @ m) for m in memory]
        context = sum(a * m for a, m in zip(power, memory, strict=True)) / sum(power)
        seen = {"baseline": h, "peeky": np.r_[last, h], "attention": np.r_[context, h]}[variant]
        logits.append(seen @ W + bias)
    np.testing.assert_allclose(
        book.forward(variant, params, source, target[:, :-1])[0][1], logits, atol=1e-12
    )


@pytest.mark.parametrize(
    ("sizes", "variant", "count"),
    [
        ((13, 16, 128), "baseline", 150_573),
        ((13, 16, 128), "peeky", 217_773),
        ((59, 16, 256), "attention", 591_259),
    ],
)
def test_sizes_are_the_books(sizes, variant, count):
    """Fails when a matrix has the wrong rows; the draw is the stream's first, so a changed order of
    draws shows too.
    """
    params = book.draw(variant, *sizes, np.random.RandomState(7))
    assert sum(p.size for p in params) == count
    assert all(p.dtype == np.float32 for p in params)
    np.testing.assert_array_equal(
        params[0], (np.random.RandomState(7).randn(*sizes[:2]) / 100).astype("f")
    )


def test_clip_and_adam_by_hand():
    """Fails with optax's clip (no 1e-6) or ε outside the corrected root, both of which differ from
    the book's in the digits.
    """
    grads = book.clip([np.array([3.0]), np.array([4.0])], 1.0)
    np.testing.assert_allclose(np.concatenate(grads), np.array([3, 4]) / (5 + 1e-6), rtol=1e-12)
    assert book.clip([np.array([0.5])], 1.0)[0] == 0.5
    params, adam = [np.array([1.0])], book.Adam(lr=0.1)
    for gradient in (1e-5, 3e-5):
        adam.update(params, [np.array([gradient])])
    m1, v1 = 0.1 * 1e-5, 0.001 * 1e-10
    m2, v2 = 0.9 * m1 + 0.1 * 3e-5, 0.999 * v1 + 0.001 * 9e-10
    first = 0.1 * math.sqrt(0.001) / 0.1 * m1 / (math.sqrt(v1) + 1e-7)
    second = 0.1 * math.sqrt(1 - 0.999**2) / (1 - 0.81) * m2 / (math.sqrt(v2) + 1e-7)
    np.testing.assert_allclose(params[0], 1 - first - second, rtol=1e-9)


def test_batches_are_consecutive_rows_of_a_permutation_an_epoch():
    """Fails when the tail is kept, or when an epoch permutes the previous one's order."""
    got = list(itertools.islice(book.batches(np.random.RandomState(3), 7, 3), 4))
    random = np.random.RandomState(3)
    first, second = random.permutation(7), random.permutation(7)
    np.testing.assert_array_equal(got, [first[:3], first[3:6], second[:3], second[3:6]])


@pytest.mark.parametrize("variant", book.VARIANTS)
def test_a_run_starts_at_chance_and_learns(variant):
    """Fails when updates go uphill or batches lose the pairing of question and answer; greedy must
    then give the answers.
    """
    x = np.array(list(itertools.product(range(1, 4), repeat=2)))
    t = np.stack([np.zeros(9, int), x[:, 1], x[:, 0]], axis=1)
    options = {"embedding": D, "hidden": 20, "batch": 9, "lr": 0.02, "clip": 5.0}
    losses = book.book_run(
        variant, x, t, True, steps=150, random=np.random.RandomState(5), **options
    )
    assert abs(losses[0] - math.log(4)) < 0.3
    assert losses[-1] < 0.1

    random = np.random.RandomState(5)
    params, adam = book.draw(variant, 4, D, 20, random), book.Adam(0.02)
    for i in itertools.islice(book.batches(random, 9, 9), 150):
        book.train_step(variant, params, adam, x[i, ::-1], t[i], 5.0)
    np.testing.assert_array_equal(book.greedy(variant, params, x[:, ::-1], 0, 2), t[:, 1:])
