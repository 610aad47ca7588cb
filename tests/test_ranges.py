"""Numbers that float32 or int32 does not hold are refused where they are asked for."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen.config import MOST_STEPS, Training
from seqgen.decoding.logits import RANGES, GenerationConfig, apply_processors
from seqgen.errors import UsageError
from seqgen.families.text_run import check_wanted
from seqgen.models import rnn_decoder, rnn_encoder, rnn_language_model
from seqgen.ranges import BELOW_ONE, INT32_MAX, LARGEST, TINY
from seqgen.tasks.addition import Addition
from seqgen.tasks.dataset import Data
from seqgen.tasks.synthetic import Synthetic
from seqgen.training.state import HyperConfig

NOT = float("inf"), float("-inf"), float("nan")
TINIER = 1e-46, 1e-39
"""Above 0 in Python: 0 in float32, and a number that a device may take for 0."""


def data(**options):
    return Data(Addition(2), **options)


def wanted(**options):
    check_wanted(
        **({"length": 1, "generation": GenerationConfig(temperature=1.0), "n": 1} | options),
        end=None,
    )


COUNTS = [
    *((GenerationConfig, name, 1, INT32_MAX) for name in ("top_k", "no_repeat_ngram")),
    (GenerationConfig, "min_length", 1, INT32_MAX),
    (GenerationConfig, "beam", 1, 1000),
    *((Training, name, 1, MOST_STEPS) for name in ("epochs", "batch", "steps", "window")),
    *((rnn_encoder.Config, name, 1, INT32_MAX) for name in ("embedding", "hidden")),
    *((rnn_decoder.Config, name, 1, INT32_MAX) for name in ("embedding", "hidden")),
    (rnn_language_model.Config, "hidden", 1, INT32_MAX),
    (rnn_language_model.Config, "layers", 1, 1000),
    (data, "draws", 1, INT32_MAX),
    *((Synthetic, name, 2, INT32_MAX) for name in ("train", "validation", "test")),
    *((wanted, name, 1, INT32_MAX) for name in ("length", "n")),
]
"""What makes it, a field that is counted, the least and the most of it."""

FLOATS = [
    *(
        (HyperConfig, name, (TINY, LARGEST), (0.0, -1.0, *TINIER, 1e39))
        for name in ("lr", "clip", "init_scale")
    ),
    (HyperConfig, "dropout", (0.0, TINY, BELOW_ONE), (-0.1, *TINIER, 1.0, 0.99999999)),
    (HyperConfig, "decay", (0.0, TINY, LARGEST), (-0.1, *TINIER, 1e39)),
    (HyperConfig, "ema", (TINY, BELOW_ONE), (0.0, -0.1, *TINIER, 1.0, 0.99999999)),
    *(
        (GenerationConfig, name, (1e-6, 1.0), (0.0, -0.1, *TINIER, 9e-7, 1.01))
        for name in ("top_p", "min_p")
    ),
    (GenerationConfig, "temperature", (0.01, 100.0), (0.0, -1.0, *TINIER, 0.009, 101.0, 1e39)),
    (GenerationConfig, "repetition_penalty", (0.1, 10.0), (0.0, -1.0, *TINIER, 0.09, 11.0, 1e39)),
    (GenerationConfig, "length_penalty", (-5.0, 0.0, 5.0), (-5.1, 5.1, 1e39)),
    (GenerationConfig, "coverage_penalty", (0.0, 10.0), (-0.1, 10.1, 1e39)),
    (Training, "plateau", (1.0, 1e6), (0.99, 1.1e6, 1e39)),
]
"""What makes it, a field that is traced, what it takes and what it does not."""


@pytest.mark.parametrize(("make", "name", "least", "most"), COUNTS)
def test_counts_fit_into_int32(make, name, least, most):
    """Fails when a count is taken that no int32 holds, to overflow or a traceback later; or the
    least or the most is refused.
    """
    for value in (least, most):
        make(**{name: value})
    for value in (0, -1, most + 1, 2**31, 2**32 + 1, 10**30):
        with pytest.raises(
            (UsageError, ValueError), match=rf"({name}|split).*not.*{value}"
        ) as error:
            make(**{name: value})
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(("make", "name", "taken", "refused"), FLOATS)
def test_numbers_mean_in_float32_what_they_say(make, name, taken, refused):
    """Fails when a number is taken that float32 makes 0, 1 or infinite: a rate that trains nothing,
    a temperature that makes every logit NaN.
    """
    if name in ("length_penalty", "coverage_penalty"):
        make = partial(make, beam=2)
    for value in taken:
        make(**{name: value})
    for value in (*refused, *NOT):
        with pytest.raises(UsageError, match=rf"{name}.*, not {re.escape(str(value))}$"):
            make(**{name: value})


def test_steps_are_counted_in_int32():
    """Fails when epochs of many steps count on past the largest int32."""
    assert Training(epochs=2).length(10**9) == 2 * 10**9
    assert Training(epochs=9, steps=7).length(10**9) == 7
    with pytest.raises(UsageError, match=r"3 epochs of 1,000,000,000 steps .*: use fewer epochs"):
        Training(epochs=3).length(10**9)


@pytest.mark.parametrize("end", [0, 1], ids=["least", "most"])
def test_what_is_taken_gives_finite_numbers(end):
    """Fails when the least or the most that is taken of a setting, all at once, leaves NaN, or no
    token to choose.
    """
    names = ("temperature", "repetition_penalty", "top_p", "min_p")
    chosen = GenerationConfig(**{name: float(RANGES[name][end]) for name in names})
    logits = np.float32(np.random.default_rng(0).normal(size=(400, 9)) * 10)
    history = np.array([[0, 1, -1]] * 400, np.int32)
    made = jax.jit(lambda x, h: apply_processors(chosen.processors(), x, h, jnp.int32(2)))(
        logits, history
    )
    assert not np.isnan(made).any()
    assert np.isfinite(made).any(axis=1).all()
    penalty = ((5 + 1e6) / 6) ** np.float32(RANGES["length_penalty"][end])
    assert 0 < np.float32(1e6) * penalty < np.inf
    assert 0 < np.float32(1e-3) / penalty < np.inf
