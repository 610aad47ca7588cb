"""Contestants that take turns: in one process, and in one process after another."""

import re
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import jax
import jax.numpy as jnp
import torch
from jaxtyping import Array

from experiments.contestants import on_device
from experiments.records import exists, load, provenance, save
from seqgen.nn.layers import Dtype

LARGE, LARGE_ON_ACCELERATOR = 2048, 8192
"""Rows and columns of the product whose rate is the machine's."""


def accelerated() -> bool:
    """Whether jax computes on something else than a CPU."""
    return jax.default_backend() != "cpu"


def synchronize() -> None:
    """Wait for what PyTorch still computes on a GPU."""
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def turns(contestants: dict[str, Callable], repeats: int) -> dict[str, list[float]]:
    """Seconds of each, taking turns, after two uncounted calls, of which the first compiles."""
    for run in contestants.values():
        run()
        run()
        synchronize()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            began = time.perf_counter()
            run()
            synchronize()
            times[name].append(time.perf_counter() - began)
    return times


def ratio(theirs: list[float], ours: list[float]) -> float:
    """How many times faster we are: the median over the turns."""
    return statistics.median(t / o for t, o in zip(theirs, ours, strict=True))


def large() -> int:
    """An accelerator needs a larger product before starting it no longer counts."""
    return LARGE_ON_ACCELERATOR if accelerated() else LARGE


@on_device()
def products(dtype: Dtype) -> dict[str, Callable[[], object]]:
    """One large product, jax's and PyTorch's: the better one's rate is the machine's."""
    shape = large(), large()
    a, b = jnp.ones(shape, dtype), torch.ones(shape, dtype=getattr(torch, dtype))
    multiply = jax.jit(lambda a: jnp.matmul(a, a, preferred_element_type=jnp.float32))
    return {"jax product": lambda: multiply(a).block_until_ready(), "torch product": lambda: b @ b}


def own_products(
    shapes: tuple[tuple[int, int], ...], rows: int, steps: int, *, backwards: bool
) -> Callable[[], object]:
    """The products of some steps and nothing else, at the sizes that they have.

    Args:
        shapes: of the matrices.
        rows: vectors that each is multiplied by.
        steps: how many.
        backwards: also for the gradients, of which there are two.

    """
    given = [(jnp.ones((rows, i)), jnp.ones((i, o)), jnp.ones((rows, o))) for i, o in shapes]

    @jax.jit
    def go(given):
        def step(_: Array, small: Array) -> Array:
            anew = [(x + small, w, dy + small) for x, w, dy in given]
            found = [(x @ w, x.T @ dy, dy @ w.T) if backwards else x @ w for x, w, dy in anew]
            made = jax.tree.leaves(jax.lax.optimization_barrier(found))
            return 1e-30 * sum(product[0, 0] for product in made)

        return jax.lax.fori_loop(0, steps, step, jnp.float32(0))

    return lambda: go(given).block_until_ready()


def product_rate(times: dict[str, list[float]]) -> float:
    """Floating-point operations a second of the better product."""
    seconds = (statistics.median(times[name]) for name in ("jax product", "torch product"))
    return 2 * large() ** 3 / min(seconds)


def over_rounds(rows: tuple[dict, ...]) -> dict:
    """The same row of several rounds: the ratio of each, and the median of every other number."""
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    ratios = columns.pop("ratio")
    middle = {
        name: statistics.median(of) if isinstance(of[0], float) else of[0]
        for name, of in columns.items()
    }
    return {**middle, "ratios": ratios}


def in_processes(rounds: int, work: Callable, *arguments: object) -> list:
    """What each of `rounds` new processes gives, one after another."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        return [pool.submit(work, *arguments).result() for _ in range(rounds)]


def place(name: str) -> str:
    """A result's name; an accelerator's has its own: speed_h100 of an NVIDIA H100 80GB HBM3."""
    if not accelerated():
        return name
    model = re.search(r"\w*\d\w*", jax.devices()[0].device_kind)
    return f"{name}_{model[0].lower() if model else jax.default_backend()}"


def keep(name: str, record: dict) -> None:
    """Write results/<name>.json, on an accelerator `place(name)`, under the version of jax."""
    name = place(name)
    versions = load(name) if exists(name) else {}
    save(name, {**versions, jax.__version__: record})


def origin(flags: str, rounds: int, repeats: int) -> dict:
    """Where a record comes from."""
    made = provenance(f"python -m experiments.speed {flags}".rstrip())
    return {**made, "torch": torch.__version__, "rounds": rounds, "repeats": repeats}


def as_they_come(
    name: str, flags: str, repeats: int, parts: Mapping[str, Iterable[dict]]
) -> dict[str, list[dict]]:
    """The rows of one round, printed as they come.

    On an accelerator also kept, each at once: what is cut short there leaves what it measured.

    Args:
        name: the result.
        flags: of the command.
        repeats: turns of each row.
        parts: a part's name -> what measures its rows, one after another.

    """
    found: dict[str, list[dict]] = {part: [] for part in parts}
    for part, rows in parts.items():
        for row in rows:
            found[part].append(show(row))
            if accelerated():
                so_far = {each: [over_rounds((row,)) for row in found[each]] for each in found}
                keep(name, {**origin(flags, 1, repeats), **so_far})
    return found


def show(row: dict) -> dict:
    """Print a row as it comes."""
    words = (f"{k} {v:.3g}" if isinstance(v, float) else str(v) for k, v in row.items())
    print("  ".join(words), flush=True)
    return row
