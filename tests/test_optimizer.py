"""What an update is: Adam and gradient descent behind a clip, schedules, and the book's rate."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen.errors import UsageError
from seqgen.families.program import rate_divisor
from seqgen.training.optimizer import adam, sgd
from seqgen.training.state import HyperConfig


@pytest.mark.parametrize("decay", [None, 0.2])
def test_adam_behind_a_clip(decay):
    """Fails when the clip is a leaf's and not the whole gradient's, comes after Adam, or bias
    correction is lost; when decay passes through Adam, is not scaled by the rate, or reaches a
    bias.
    """
    random = np.random.default_rng(2)
    p = {"w": random.normal(size=(3, 2)), "b": random.normal(size=2)}
    hyper = HyperConfig(lr=0.03, clip=1.5, decay=decay).traced()
    transform = adam("constant", 0.0, 10)(hyper)
    ours = jax.tree.map(jnp.float32, p)
    state, m, v = transform.init(ours), dict.fromkeys(p, 0.0), dict.fromkeys(p, 0.0)
    update = jax.jit(transform.update)
    for t in range(1, 5):
        grads = {
            name: random.normal(size=value.shape) * 10.0 ** (2 - t) for name, value in p.items()
        }
        updates, state = update(jax.tree.map(jnp.float32, grads), state, ours)
        ours = jax.tree.map(jnp.add, ours, updates)
        scale = min(1, 1.5 / np.sqrt(sum((g**2).sum() for g in grads.values())))
        for name, g in grads.items():
            m[name] = 0.9 * m[name] + 0.1 * scale * g
            v[name] = 0.999 * v[name] + 0.001 * (scale * g) ** 2
            shrunk = 1 - 0.03 * (decay or 0) * (name == "w")
            p[name] = shrunk * p[name] - 0.03 * (m[name] / (1 - 0.9**t)) / (
                np.sqrt(v[name] / (1 - 0.999**t)) + 1e-8
            )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-6), ours, p)


@pytest.mark.parametrize("decay", [None, 0.2])
def test_sgd_behind_a_clip(decay):
    """Fails when the clip is a leaf's and not the whole gradient's, stretches short gradients, or
    comes after the rate; when there is momentum or a rule of another optimiser's; when decay is not
    scaled by the rate or reaches a bias.
    """
    random = np.random.default_rng(2)
    p = {"w": random.normal(size=(3, 2)), "b": random.normal(size=2)}
    hyper = HyperConfig(lr=20.0, clip=0.25, decay=decay).traced()
    transform = sgd("constant", 0.0, 10)(hyper)
    ours = jax.tree.map(jnp.float32, p)
    state, update = transform.init(ours), jax.jit(transform.update)
    clipped = []
    for t in range(4):
        grads = {
            name: random.normal(size=value.shape) * 10.0 ** (1 - t) for name, value in p.items()
        }
        updates, state = update(jax.tree.map(jnp.float32, grads), state, ours)
        ours = jax.tree.map(jnp.add, ours, updates)
        norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
        clipped.append(norm > 0.25)
        for name, g in grads.items():
            p[name] = p[name] * (1 - 20 * (decay or 0) * (name == "w")) - 20 * g * min(
                1, 0.25 / norm
            )
    assert clipped == [True, True, True, False]
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5), ours, p)


@pytest.mark.parametrize(
    ("shape", "warmup"),
    [
        ("constant", 0.25),
        ("cosine", 0.25),
        ("cosine", 0.0),
        ("inverse_sqrt", 0.25),
        ("inverse_sqrt", 0.0),
    ],
)
def test_schedules(shape, warmup):
    """Fails when the peak is not the traced rate, warm-up is not linear or of another length, or
    the fall is not half a cosine that ends at zero, or not √(w / t). Under a constant, large
    gradient Adam's step is the rate itself, but for float32's 1 - 0.999ᵗ (1e-5).
    """
    steps, rate = 16, 0.05
    update = jax.jit(
        lambda hyper, grads, state: adam(shape, warmup, steps)(hyper).update(grads, state)
    )
    hyper = HyperConfig(lr=rate, clip=1000.0).traced()
    grads, state, seen = jnp.full(3, 100.0), adam(shape, warmup, steps)(hyper).init(jnp.ones(3)), []
    for _ in range(steps + 1):
        moved, state = update(hyper, grads, state)
        seen.append(-float(moved[0]) / rate)
    first = int(warmup * steps)
    rise = np.arange(first) / max(first, 1)
    fall = (1 + np.cos(np.pi * np.arange(steps + 1 - first) / (steps - first))) / 2
    t, w = np.arange(1, steps + 2), max(first, 1)
    expected = {
        "constant": np.ones(steps + 1),
        "cosine": np.concatenate([rise, fall]),
        "inverse_sqrt": np.concatenate([t[:w] / w, np.sqrt(w / t[w:])]),
    }[shape]
    np.testing.assert_allclose(seen, expected, atol=3e-5)


@pytest.mark.parametrize("options", [
    {"lr": 0.0}, {"lr": float("nan")}, {"clip": -1.0}, {"init_scale": 0.0}, {"dropout": 1.0},
    {"dropout": -0.1}, {"decay": -0.1}, {"ema": 0.0}, {"ema": 1.0},
])  # fmt: skip
def test_numbers_without_sense_are_refused(options):
    """Fails when a typing error trains to the end and only then shows as nonsense."""
    with pytest.raises(UsageError, match=next(iter(options))):
        HyperConfig(**options)


@pytest.mark.parametrize(
    ("losses", "divisor"),
    [
        ([], 1),
        ([5.0], 1),
        ([5.0, 4.0, 3.0], 1),
        ([5.0, 5.0], 4),
        ([5.0, 4.0, 4.5, 4.2, 3.9], 16),
        ([5.0, 4.0, 4.0, 3.0, 3.5, 2.9], 16),
        ([3.0, 5.0, 4.0, 3.0], 64),
        ([5.0, float("nan"), 4.0], 4),
    ],
)
def test_the_rate_falls_where_an_epoch_is_not_the_best(losses, divisor):
    """Fails when an epoch is compared with the last one and not with the best, an equal loss counts
    as better, the rate recovers, or the first epoch counts.
    """
    events = [{"event": "evaluate", "loss": loss} for loss in losses]
    assert rate_divisor(events, 4.0) == divisor
    assert rate_divisor(events, 1.0) == 1
