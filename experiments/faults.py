"""What kills, damaged files and full disks do to a run.

Claim     a run that is killed, or whose disk fills, goes on to the same bits; one whose files were
          damaged does so too, or says so in one line: no other number is ever believed
Command   python -m experiments.faults [--trials 20] [--seed 0]
Expected  silent 0 in every row
Time      15 minutes on 2 cores

*kill*: the command is killed (SIGKILL) at a random moment, as is the one that goes on, and a third
one ends it. *disk*: from a random moment on no file can grow beyond a random size. *flip*, *cut*:
of a finished run or of one stopped half way, a random bit of a random file is another, or the file
ends at a random byte (not of figures and samples, which nobody reads). It is scored, and goes on.
*identical*: all bits are an undisturbed run's. *detected*: one line, exit code 1 or 2; after a full
disk it goes on to the same bits. *silent* is anything else, a traceback too.
"""

import os
import random
import re
import resource
import shutil
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, NamedTuple, get_args

import jax
import tyro

from experiments import records
from experiments.markdown import table
from experiments.same import samples, steps
from seqgen import cli, presets, viz
from seqgen.cli import evaluate, resume, sweep, train
from seqgen.config import RunConfig, Training
from seqgen.errors import SeqgenError
from seqgen.families import check_files
from seqgen.storage import log

IMPORTED = evaluate, resume, sweep, train, viz
"""Here, so that each command is a fork that has them."""

SEEDS = range(2)


def base() -> RunConfig:
    """The sweep's: tiny, with dropout, so that every step's own key counts."""
    config = presets.preset("addition", "baseline")
    model = presets.model("baseline", embedding=7, hidden=12)
    training = Training(epochs=3, batch=32)
    data, hyper = replace(config.data, draws=600), replace(config.hyper, dropout=0.1)
    return replace(config, data=data, model=model, training=training, hyper=hyper)


def variants() -> dict[str, Any]:
    """Members of one compiled program."""
    return {"slow": {}, "fast": {"lr": 0.01}}


TINY = ["--dropout", "0.1", "--lr", "0.01", "--epochs", "3", "--select", "best"]
PAIRS = ["--draws", "600", "--batch", "32", "--schedule", "constant", "--warmup", "0"]
SIDES = ["--model.encoder.hidden", "12", "--model.decoder.hidden", "12"]
TEXT = ["--train", "4000", "--validation", "500", "--test", "500", "--batch", "4"]

BEGIN = {
    "pairs": ["train", "addition", "baseline", *TINY, *PAIRS, *SIDES, "--name"],
    "text": ["train", "markov", "language-model", *TINY, *TEXT, "--model.hidden", "12", "--name"],
    "sweep": ["sweep", "experiments.faults", "--name"],
}
"""Kind of run -> what makes one, but for its path."""

Kind = Literal["kill", "disk", "flip", "cut"]


class Done(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def clear(self) -> bool:
        """Whether it failed with one line."""
        error = re.search(r"^seqgen: error: .*\n\Z", self.err, re.MULTILINE)
        return self.code in (1, 2) and error is not None and "Traceback" not in self.err


def command(
    *words: str,
    send: tuple[signal.Signals, float] | None = None,
    full: tuple[int, float] | None = None,
) -> Done:
    """Run `seqgen WORDS` in a fork.

    Args:
        words: the command's.
        send: a signal, and after how many seconds it gets it.
        full: how large files can be, and after how many seconds.

    """
    (out, to_out), (err, to_err) = os.pipe(), os.pipe()
    process = os.fork()
    if not process:
        os.dup2(to_out, 1)
        os.dup2(to_err, 2)
        os.close(out)
        os.close(err)
        if full is not None:
            limits = full[0], resource.RLIM_INFINITY
            after(full[1], lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits))
        code = 70
        try:
            sys.argv = ["seqgen", *words]
            code = cli.main(words)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(to_out)
    os.close(to_err)
    timer = after(send[1], lambda: os.kill(process, send[0])) if send else None
    with open(err, errors="replace") as errors, open(out, errors="replace") as results:
        said, printed = errors.read(), results.read()
    if timer is not None:
        timer.cancel()
        timer.join()
    return Done(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), printed, said)


def after(seconds: float, work: Callable[[], Any]) -> threading.Timer:
    """Do something later."""
    timer = threading.Timer(seconds, work)
    timer.daemon = True
    timer.start()
    return timer


class Subject:
    """A kind of run: one that nothing disturbed, and one that was stopped half way."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind, self.path = kind, folder / kind / "run"
        for _ in ("compiles", "does not"):
            self.place(None)
            began = time.monotonic()
            if (done := command(*self.begin)).code:
                raise RuntimeError(f"{kind}: {done.err}")
            self.seconds = time.monotonic() - began
        self.result, self.finished = self.outcome(), folder / kind / "finished"
        self.half = folder / kind / "half"
        shutil.copytree(self.path, self.finished)
        self.scores = {self.finished: self.scored()}
        self.place(None)
        moment = 0.6 * self.seconds
        while command(*self.begin, send=(signal.SIGTERM, moment)).code != 128 + signal.SIGTERM:
            shutil.rmtree(self.path)
            moment *= 0.8
        shutil.copytree(self.path, self.half)
        self.scores[self.half] = self.scored()

    @property
    def begin(self) -> list[str]:
        """What makes the run."""
        return [*BEGIN[self.kind], str(self.path)]

    @property
    def again(self) -> list[str]:
        """What goes on with it, or begins where nothing is left."""
        goes_on = self.kind != "sweep" and (self.path / "config.json").exists()
        return ["resume", str(self.path)] if goes_on else self.begin

    def runs(self) -> list[Path]:
        """The run, or the sweep's members."""
        return sorted(self.path.glob("*-?")) if self.kind == "sweep" else [self.path]

    def outcome(self) -> dict[str, Any]:
        """All bits of the run but for its times."""
        found: dict[str, Any] = {}
        for run in self.runs():
            files = sorted(run.glob("checkpoints/*/*[0-9]/leaves.json"))  # no left-over .tmp
            files += [run / "config.json", run / "vocabulary.json"]
            found |= {str(file.relative_to(self.path)): file.read_bytes() for file in files}
            rest = [event for event in log.read(run) if event["event"] != "train"]
            found[run.name] = steps(run), rest, samples(run)
        return found

    def scored(self) -> Done:
        """What `seqgen evaluate` says of the run, or of the sweep's first member."""
        run = self.path / "fast-0" if self.kind == "sweep" else self.path
        return command("evaluate", str(run), "--json")

    def place(self, before: Path | None) -> None:
        """Let the run be where another one was."""
        shutil.rmtree(self.path, ignore_errors=True)
        if before is not None:
            shutil.copytree(before, self.path)

    def trial(self, kind: Kind, chance: random.Random) -> str:
        """One trial: "identical", "detected", or how it went otherwise."""
        moment = chance.uniform(0, self.seconds)
        if kind in ("flip", "cut"):
            self.place(before := chance.choice([self.finished, self.half]))
            what = damage(self.path, kind, chance)
            scored = self.scored()
            verdict = self.judged(command(*self.again), what)
            if scored == self.scores[before] or verdict not in ("identical", "detected"):
                return verdict
            return "detected" if scored.clear else f"{what}: {scored}"
        self.place(None)
        if kind == "kill":
            for words in (self.begin, self.again):
                self.clear_away()
                command(*words, send=(signal.SIGKILL, moment))
                moment = chance.uniform(0, self.seconds)
            first, what = None, "kill"
        else:
            full = chance.choice([0, 300, 3_000, 30_000]), moment
            first, what = command(*self.begin, full=full), f"disk {full}"
        self.clear_away()
        verdict = self.judged(done := command(*self.again), what)
        if verdict == "detected":
            return f"{what}, does not go on: {done}"
        cut_short = verdict == "identical" and first is not None and first.code != 0
        return verdict if not cut_short else "detected" if first.clear else f"{what}: {first}"

    def clear_away(self) -> None:
        """A folder that was left before it became a run bars its name."""
        if self.kind != "sweep" and not (self.path / "config.json").exists():
            self.place(None)

    def judged(self, done: Done, what: str) -> str:
        """Whether the run ended as it should, or said why it does not."""
        if done.code != 0:
            return "detected" if done.clear else f"{what}: {done}"
        try:
            if self.outcome() == self.result:
                return "identical"
            for run in self.runs():
                check_files(run)
        except SeqgenError:  # no command needed the file: whoever reads it is told
            return "detected"
        return f"{what}: another outcome"


def damage(run: Path, kind: Kind, chance: random.Random) -> str:
    """Flip a bit of a file, or cut it. Returns what was done."""
    files = [path for path in sorted(run.rglob("*")) if path.is_file() and path.stat().st_size]
    files = [path for path in files if not {"figures", "samples"} & {*path.parts}]
    small = [path for path in files if "checkpoints" not in path.parts]
    file = chance.choice(chance.choice([files, small]))
    content = bytearray(file.read_bytes())
    place = chance.randrange(len(content) * (8 if kind == "flip" else 1))
    if kind == "flip":
        content[place // 8] ^= 1 << place % 8
    file.write_bytes(content if kind == "flip" else content[:place])
    return f"{kind} {file.relative_to(run)} at {place}"


def main(trials: int = 20, seed: int = 0) -> None:
    """Run `trials` of each kind on each kind of run, write results/faults.json, print one table;
    `seed` draws the moments and places.
    """
    chance, found = random.Random(seed), {}
    with TemporaryDirectory() as folder:
        jax.config.update("jax_compilation_cache_dir", f"{folder}/cache")
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        subjects = [Subject(kind, Path(folder)) for kind in BEGIN]
        for kind, subject in product(get_args(Kind), subjects):
            counts = Counter({"trials": trials, "identical": 0, "detected": 0, "silent": 0})
            for _ in range(trials):
                verdict = subject.trial(kind, chance)
                if verdict not in counts:
                    print(f"{subject.kind}: {verdict}", file=sys.stderr)
                    verdict = "silent"
                counts[verdict] += 1
            found[f"{kind}, {subject.kind}"] = dict(counts)
            print(f"{kind}, {subject.kind}: {dict(counts)}", flush=True)
    words = f"python -m experiments.faults --trials {trials} --seed {seed}"
    records.save("faults", {**records.provenance(words), "faults": found})
    print(faults_table())


def faults_table() -> str:
    """All trials as a Markdown table."""
    faults = records.load("faults")["faults"]
    rows = [[fault, *map(str, counts.values())] for fault, counts in faults.items()]
    return table(["", "trials", "identical", "detected", "silent"], rows)


if __name__ == "__main__":
    tyro.cli(main)
