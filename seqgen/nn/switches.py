"""jax as our numbers want it, whatever the process has set: its switches, and keys."""

import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from seqgen.errors import SeqgenError, UsageError

_config: Any = jax.config  # which has its options as attributes that no type knows

SWITCHES: tuple[tuple[Any, Any], ...] = (
    (jax.enable_x64, False),
    (jax.numpy_dtype_promotion, "standard"),
    (jax.threefry_partitionable, True),
    (jax.transfer_guard, "allow"),
)
"""What changes dtypes or random numbers, or forbids what programs are given, and what we need."""


@contextmanager
def fixed() -> Generator[None]:
    """Around all that traces or runs a program, as a context or a decorator: `SWITCHES` hold.

    Raises:
        UsageError: where jax's jit is switched off: a program is one compiled piece.
        SeqgenError: in a process that was forked after jax had started, where jax would hang.

    """
    if _config.jax_disable_jit:
        raise UsageError(
            "jax's jit is switched off, and seqgen trains and decodes in compiled programs: "
            "unset JAX_DISABLE_JIT (jax_disable_jit)"
        )
    if _forked:
        raise SeqgenError(
            "this process was forked after jax had started, and would hang: start it with "
            'multiprocessing.get_context("spawn")'
        )
    with ExitStack() as stack:
        for switch, value in SWITCHES:
            stack.enter_context(switch(value))
        yield


def key(seed: Any) -> Key[Array, "*N"]:
    """The key of a seed, or of each of several: `jax.random.key` by threefry, whatever jax has set.

    Seeds are at least 0 and below 2**32.
    """
    with fixed():
        low = jnp.asarray(seed, jnp.uint32)
        words = jnp.stack([jnp.zeros_like(low), low], axis=-1)
        return jax.random.wrap_key_data(words, impl="threefry2x32")


_forked: list[int] = []
"""This process, where jax had started in its parent before the fork."""


def _note_fork() -> None:
    """Ask jax whether it has started: it then takes no other number of devices."""
    devices = _config.jax_num_cpu_devices
    try:
        _config.update("jax_num_cpu_devices", devices + 1)
        _config.update("jax_num_cpu_devices", devices)
    except RuntimeError:
        _forked.append(os.getpid())


os.register_at_fork(after_in_child=_note_fork)
