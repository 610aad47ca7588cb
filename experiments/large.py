"""Ten million pairs: how long they take to prepare, the memory that they need, and what it costs
that their rows come from the disk.

Claim     ten million pairs are prepared in under 10 minutes and trained on in under 2 GB of
          resident memory, at no less than 0.9 of the throughput with all rows on the device
Command   python -m experiments.large
Expected  on 2 cores about 2 minutes, 0.9 GB and, to train, 1.8 GB; a ratio near 1
Time      6 minutes on 2 quiet cores, and 2 GB of disk in a temporary folder
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from rich.progress import track

from experiments.records import provenance, save
from seqgen import presets
from seqgen.config import RunConfig, Training
from seqgen.families import pairs as family
from seqgen.tasks import pair_file
from seqgen.tasks.pair_file import PairFile
from seqgen.training.batches import Buckets, chunks
from seqgen.training.steps import Program, train_steps, zero_totals
from seqgen.types import Member

BLOCK = 100_000


def write_pairs(path: Path, count: int) -> None:
    """Strings of 4 to 16 letters, and the same backwards."""
    random = np.random.default_rng(0)
    with open(path, "wb") as file:
        for first in track(range(0, count, BLOCK), f"{count:,} pairs"):
            rows = min(BLOCK, count - first)
            letters = random.integers(ord("a"), ord("z") + 1, (rows, 16), np.uint8)
            lengths = random.integers(4, 17, rows).tolist()
            texts = [row[:length] for row, length in zip(letters, lengths, strict=True)]
            file.writelines(b"%s\t%s\n" % (t.tobytes(), t[::-1].tobytes()) for t in texts)


def child(words: list[str], cache: Path) -> dict[str, float]:
    """Seconds and peak resident gigabytes of a `seqgen` command, in a process of its own."""
    began = time.monotonic()
    env = os.environ | {"XDG_CACHE_HOME": str(cache)}
    made = subprocess.Popen([sys.executable, "-m", "seqgen", *words], env=env)
    _, status, usage = os.wait4(made.pid, 0)
    made.returncode = os.waitstatus_to_exitcode(status)
    if made.returncode:
        raise SystemExit(f"seqgen {words[0]} ended with {made.returncode}")
    seconds = time.monotonic() - began
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime,
            "gigabytes": usage.ru_maxrss * 1024 / 1e9}  # fmt: skip


def on_device(made: Buckets) -> Buckets:
    """The same batches, with all rows on the device."""
    assert made.stored is not None
    fetch = made.stored.fetch
    data = tuple(fetch(i, np.arange(rows)) for i, rows in enumerate(made.rows))
    return Buckets(data, made.batch, made.seed)


def throughput(path: Path, hidden: int, turns: int, steps: int) -> dict[str, Any]:
    """Examples a second with rows from the disk and on the device, in turns, and their ratio.

    Args:
        path: fewer pairs.
        hidden: width of the model.
        turns: how many.
        steps: of each turn.

    """
    data = PairFile((str(path),))
    cfg = presets.model("attention", embedding=hidden // 4, hidden=hidden, init="modern")
    config = RunConfig(data, cfg, Training(batch_tokens=1024))
    dataset = family.load(data)
    program = family.program(config, dataset)
    assert isinstance(program.batches, Buckets)
    there = program._replace(batches=on_device(program.batches))
    runs = {"disk": session(program, config), "device": session(there, config)}
    rates: dict[str, list[float]] = {name: [] for name in runs}
    starts, buckets, _ = chunks(program.batches.bucket_steps, 0, 0)
    for bucket in range(len(program.batches.rows)):  # each is compiled
        first = int(starts[list(buckets).index(bucket)])
        for run in runs.values():
            run(first, first + 1)
    for turn in range(turns):
        for name, run in runs.items():
            began = time.perf_counter()
            examples = run(turn * steps, turn * steps + steps)
            rates[name].append(examples / (time.perf_counter() - began))
    ratios = [disk / device for disk, device in zip(*rates.values(), strict=True)]
    return {
        "hidden": hidden,
        "pairs": len(dataset.splits.train),
        "ratio": statistics.median(ratios),
        "examples_per_second": {name: statistics.median(each) for name, each in rates.items()},
        "ratios": ratios,
    }


def session(program: Program, config: RunConfig) -> Callable[[int, int], int]:
    """Takes steps first to last - 1, as the training loop does; returns how many examples."""
    batches = program.batches
    assert isinstance(batches, Buckets)
    member = Member(jax.random.key(0), config.hyper.traced())
    plan = jax.jit(batches.plan)(member, np.int32(0))
    take = jax.jit(partial(train_steps, program), donate_argnames=("state", "totals"))
    data, state = jax.device_put(batches.data), [jax.jit(program.init)(member)]

    def run(first: int, last: int) -> int:
        totals, examples = zero_totals(), 0
        while first < last:
            page = batches.page(plan, 0, first)
            items, end = jax.device_put(page.items), min(last, page.end)
            span = np.array([first - page.first, end - page.first], np.int32)
            state[0], totals = take(
                data, member, state=state[0], totals=totals, items=items, span=span
            )
            examples += batches.batch[page.items.bucket] * (end - first)
            first = end
        jax.block_until_ready(totals)
        return examples

    return run


def main(pairs: int = 10_000_000, fewer: int = 400_000, turns: int = 25, steps: int = 64) -> None:
    """Measure, and write results/large.json.

    Args:
        pairs: how many are prepared and trained on.
        fewer: how many are trained on both ways.
        turns: of each way.
        steps: of a turn.

    """
    with tempfile.TemporaryDirectory(prefix="seqgen-large-") as made:
        folder = Path(made)
        write_pairs(folder / "large.tsv", pairs)
        prepared = child(["audit", str(folder / "large.tsv")], folder)
        print(f"prepared in {prepared['seconds']:.0f} s, {prepared['gigabytes']:.2f} GB")
        words = ["--steps", "200", "--name", str(folder / "run")]
        trained = child(["train", str(folder / "large.tsv"), *words], folder)
        print(f"trained in {trained['seconds']:.0f} s, {trained['gigabytes']:.2f} GB")
        write_pairs(folder / "fewer.tsv", fewer)
        os.environ["XDG_CACHE_HOME"] = str(folder)
        pair_file.LARGE = 1
        both = [throughput(folder / "fewer.tsv", hidden, turns, steps) for hidden in (128, 256)]
        for each in both:
            print(f"{each['hidden']} hidden: {each['ratio']:.3f} of the throughput on the device")
    record = {"pairs": pairs, "prepared": prepared, "trained": trained, "throughput": both}
    save("large", {**provenance("python -m experiments.large"), **record})


if __name__ == "__main__":
    tyro.cli(main)
