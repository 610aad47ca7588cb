"""Programs for machines that are not here: training and decoding lower for CPU, CUDA and TPU, and never call the host."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen import evaluation
from seqgen.decoding import generate
from seqgen.models import seq2seq
from seqgen.training.chunk import SUMS, run_chunk, zero_totals
from seqgen.training.objective import teacher_forced
from seqgen.training.source import Epochs
from seqgen.training.state import HyperConfig, adam, create
from seqgen.types import Batch, Member
from tests.oracles import VARIANTS, config

PLATFORMS = ("cpu", "cuda", "tpu")
B, S, T, N = 4, 3, 5, 12
CONFIGS = {
    "everything": VARIANTS["everything"],
    "narrow gru": seq2seq.replace(VARIANTS["gru"], dtype="bfloat16") if hasattr(seq2seq, "replace") else VARIANTS["gru"],
}


def batch(rows: int) -> Batch:
    tokens = jax.ShapeDtypeStruct((rows, T), jnp.int32)
    source, length = jax.ShapeDtypeStruct((rows, S), jnp.int32), jax.ShapeDtypeStruct((rows,), jnp.int32)
    return Batch(source, length, tokens, tokens, jax.ShapeDtypeStruct((rows, T), jnp.bool))


def host_calls(traced) -> list[str]:
    """Lower for every platform; the lines that leave the device, and proof that there is a program at all."""
    found = []
    for platform in PLATFORMS:
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert "stablehlo.while" in text
        found += [line for line in text.splitlines() if any(word in line for word in ("callback", "infeed", "outfeed", "send"))]
    return found
