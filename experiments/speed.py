"""How fast seqgen trains and decodes beside PyTorch, in one run, at the book's sizes.

Claim     on one jax device a float32 training step takes no longer than PyTorch's on any row, and
          decoding neither
Command   make bench      (installs torch into the environment, then python -m experiments.speed)
          python -m experiments.speed --grid           (many runs in one program, beside one by one)
          python -m experiments.speed --language-model (the book's Rnnlm, and texts drawn)
          python -m experiments.speed --pairs          (Multi30k's lengths, beside packed sequences)
Method    in one process, after a warm-up, the two take turns; a ratio is the median of the pairwise
          ones, and a row the median over three processes, since memory lies otherwise in each. Same
          mathematics, shapes and batch: nn.LSTM, Adam(fused=True), clip_grad_norm_ on PyTorch's
          side; bfloat16 beside its autocast. The limit is the matrix products' operations over the
          rate of one large product, which takes its turns too. On a GPU both compute there, float32
          products as TF32 on either side, as is jax's default; the members of --grid are
          vectorised, and results are files of their own (speed_h100.json), which have each row as
          soon as it is measured; memory and long windows are not measured.
Time      about 15 minutes on 2 quiet cores, with --grid 43
"""

import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import tyro

from experiments import speed_grid, speed_language, speed_pairs
from experiments.contestants import (
    DTYPES,
    QUESTIONS,
    SIZES,
    SPAN_STEPS,
    VARIANTS,
    operations,
    our_decoding,
    our_training,
    their_decoding,
    their_training,
)
from experiments.timing import (
    accelerated,
    as_they_come,
    in_processes,
    keep,
    origin,
    over_rounds,
    product_rate,
    products,
    ratio,
    show,
    turns,
)
from seqgen.errors import SeqgenError
from seqgen.nn.layers import Dtype


def training_row(task: str, variant: str, dtype: Dtype, repeats: int) -> dict:
    """Milliseconds a step, ours and PyTorch's, and the limit.

    Args:
        task: whose sizes.
        variant: which of the book's models.
        dtype: of its products.
        repeats: turns.

    """
    steps = SPAN_STEPS[task]
    contestants = {
        "ours": our_training(task, variant, dtype, steps),
        "torch": their_training(task, variant, dtype, steps),
    }
    times = turns(contestants | products(dtype), repeats)
    limit = 1e3 * operations(task, variant) / product_rate(times)
    step = {name: 1e3 * statistics.median(times[name]) / steps for name in contestants}
    return {
        "task": task,
        "model": variant,
        "dtype": dtype,
        "ours_ms": step["ours"],
        "torch_ms": step["torch"],
        "ratio": ratio(times["torch"], times["ours"]),
        "limit_ms": limit,
        "fraction_of_limit": limit / step["ours"],
    }


def decoding_row(task: str, variant: str, repeats: int) -> dict:
    """Seconds for 5,000 questions: ours, and PyTorch's, also with one question at a time.

    Of PyTorch's batches the better: all at once, or blocks.
    """
    alone = 100
    contestants = {
        "ours": our_decoding(task, variant, QUESTIONS),
        "torch": their_decoding(task, variant, QUESTIONS, QUESTIONS),
        "torch_blocks": their_decoding(task, variant, QUESTIONS, 500),
        "torch_alone": their_decoding(task, variant, alone, 1),
    }
    times = turns(contestants, repeats)
    peer = min("torch", "torch_blocks", key=lambda name: statistics.median(times[name]))
    single = [t * QUESTIONS / alone for t in times["torch_alone"]]
    seconds = {"ours": times["ours"], "torch": times[peer], "torch_alone": single}
    return {
        "task": task,
        "model": variant,
        **{f"{name}_s": statistics.median(t) for name, t in seconds.items()},
        "ratio": ratio(times[peer], times["ours"]),
        "ratio_alone": ratio(single, times["ours"]),
    }


def first_step(folder: str, name: str) -> float:
    """Seconds from nothing to the logged end of the first step.

    Of a new process, with its cache in `folder`.
    """
    log = Path(folder, name, "metrics.jsonl")
    small = ["--draws", "4000", "--steps", "1"]
    words = ["train", "dates", "attention", *small, "--name", str(log.parent)]
    cache = {
        "JAX_COMPILATION_CACHE_DIR": f"{folder}/cache",
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    began = time.perf_counter()
    command, null = [sys.executable, "-m", "seqgen", *words], subprocess.DEVNULL
    with subprocess.Popen(command, env=os.environ | cache, stdout=null, stderr=null) as process:
        while not (log.exists() and log.stat().st_size) and process.poll() is None:
            time.sleep(0.005)
        return time.perf_counter() - began


def startup(repeats: int = 3) -> dict[str, float]:
    """Seconds to the first step, with nothing compiled before and with all of it."""
    seconds: dict[str, list[float]] = {"cold_s": [], "warm_s": []}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            for name, times in seconds.items():
                times.append(first_step(folder, name))
    return {name: statistics.median(times) for name, times in seconds.items()}


def measure(only: tuple[str, ...], repeats: int) -> dict[str, list[dict]]:
    """One round: the rows of the parts asked for."""
    cells = itertools.product(DTYPES, SIZES, VARIANTS)
    parts = {
        "train": (training_row(task, variant, dtype, repeats) for dtype, task, variant in cells),
        "decode": (decoding_row(task, variant, repeats) for task in SIZES for variant in VARIANTS),
    }
    asked = {part: rows for part, rows in parts.items() if part in only}
    return as_they_come("speed", f"--only {' '.join(only)}", repeats, asked)


def geometric_means(rows: list[dict]) -> dict[str, list[float]]:
    """Of the training rows' ratios, round by round, for each dtype."""
    ratios = {dtype: [row["ratios"] for row in rows if row["dtype"] == dtype] for dtype in DTYPES}
    return {
        dtype: [statistics.geometric_mean(one) for one in zip(*lists, strict=True)]
        for dtype, lists in ratios.items()
    }


def main(
    rounds: int = 3,
    repeats: int = 4,
    only: tuple[str, ...] = ("train", "decode", "start"),
    grid: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg()] = False,
    language_model: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg()] = False,
    pairs: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg()] = False,
) -> None:
    """Measure and write results/speed.json, under the version of jax.

    Args:
        rounds: processes, one after another.
        repeats: turns of each row in each of them.
        only: which parts; on a CPU the file is written when all are measured.
        grid: measure many runs in one program instead, and write results/grid.json.
        language_model: measure language models instead, and write results/speed_language.json.
        pairs: measure pairs of many lengths instead, and write results/pairs_speed.json.

    """
    if pairs:
        measure_lengths(rounds, repeats)
    elif language_model:
        measure_language_models(rounds, repeats)
    elif grid:
        found = zip(*in_processes(rounds, speed_grid.measure, repeats), strict=True)
        rows = [over_rounds(row) for row in found]
        keep("grid", {**origin("--grid", rounds, repeats), "rows": rows})
    else:
        measure_pairs(rounds, repeats, only)


def measure_language_models(rounds: int, repeats: int) -> None:
    """All that results/speed_language.json has; on an accelerator the rates alone."""
    record: dict = by_part(in_processes(rounds, speed_language.measure, repeats))
    if not accelerated():
        record["memory"] = speed_language.measure_memory()
        (record["long"],) = in_processes(1, speed_language.measure_long, repeats)
    keep("speed_language", {**origin("--language-model", rounds, repeats), **record})


def measure_lengths(rounds: int, repeats: int) -> None:
    """All that results/pairs_speed.json has; without the data a line, and exit code 1."""
    try:
        speed_pairs.task(1)
    except SeqgenError as error:
        sys.exit(f"speed: {error}: `python data/multi30k/prepare.py` makes the archive")
    record = by_part(in_processes(rounds, speed_pairs.measure, repeats))
    keep("pairs_speed", {**origin("--pairs", rounds, repeats), **record})


def measure_pairs(rounds: int, repeats: int, only: tuple[str, ...]) -> None:
    """The parts of results/speed.json that are asked for; on a CPU it is written when all are
    measured.
    """
    record: dict = by_part(in_processes(rounds, measure, only, repeats))
    if "train" in only:
        record["geometric_mean"] = show(geometric_means(record["train"]))
    if "start" in only:
        record["startup"] = show(startup())
    whole = {"train", "decode", "start"} <= set(only)
    if whole or accelerated():
        flags = "" if whole else f"--only {' '.join(only)}"
        keep("speed", {**origin(flags, rounds, repeats), **record})


def by_part(found: list[dict[str, list[dict]]]) -> dict[str, list[dict]]:
    """The rows of several rounds as one, part by part."""
    return {
        name: [over_rounds(rows) for rows in zip(*(one[name] for one in found), strict=True)]
        for name in found[0]
    }


if __name__ == "__main__":
    tyro.cli(main)
