"""The training loop over functions that only count: what it calls, logs and saves, how it ends."""

import itertools
import json
import math
import os
import re
import resource
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen.config import Training
from seqgen.errors import SeqgenError
from seqgen.families import FAMILIES
from seqgen.families.run import resuming
from seqgen.storage import checkpoint, log
from seqgen.training import loop, signals, solo
from seqgen.training.batches import Page
from seqgen.training.sharding import mesh_of
from seqgen.training.state import HyperConfig, TrainState
from seqgen.training.steps import NEVER, Program, Totals, zero_totals
from seqgen.types import Hyper, Member
from tests.processes import events

STEPS, EPOCH = 64, 25
"""Two epochs and a half; a line of the log is due every 3 steps, and at an epoch's end after 1."""


class Report:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.seen: list[int] = []

    def begin(self, program: Program) -> None:
        self.total = program.steps

    def advance(self, step: int, totals: Totals, rate: float) -> None:
        self.seen.append(step)

    def evaluated(self, event: log.Event, samples: str) -> None:
        pass

    def note(self, line: str) -> None:
        self.notes.append(line)


class Items(NamedTuple):
    """Batches that are numbers."""

    steps: int = EPOCH
    data: tuple = ()

    def page(self, plan: np.ndarray, epoch: int, first: int) -> Page:
        return Page(plan, 0, EPOCH)

    def plan(self, member: Member, epoch: Any) -> Any: ...

    def read(self, data: Any, item: Any) -> Any: ...


class Fake:
    """A program whose weight depends on every step and its order, and on each epoch's past.

    `seconds` is what a step takes on the fake clock.
    """

    def __init__(self, seconds: float = 0.01, broken: int = NEVER) -> None:
        self.now, self.seconds, self.broken = 0.0, seconds, broken
        self.spans: list[tuple[int, int]] = []
        self.plans: list[int] = []
        self.evaluations: list[int] = []
        self.during = {}
        """Step, or ("evaluate", step) -> what happens while it is taken or evaluated."""
        self.functions = solo.Functions(self.init, self.carry, self.plan, self.steps)
        self.epoch_end = solo.EpochEnd(self.evaluate, FAMILIES[0].metric.best)

    def train(self, run: Path, report: Report | None = None, until: float = math.inf) -> bool:
        """Train a run to its end, from wherever it stands, or until a time of the fake clock."""
        unused = dict.fromkeys(("init", "carry", "loss", "optimizer", "evaluate"))
        options = {"steps": STEPS, "accumulate": 1, "size": 4, "unit": "examples"}
        program = Program(**unused, batches=Items(), adjust=self.adjust, **options)
        member = Member(jax.random.key(0), HyperConfig(lr=1.0).traced())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: self.now))
            patch.setattr(solo, "compile_solo", lambda program, mesh: self.functions)
            parts = {"mesh": mesh_of(1), "epoch_end": self.epoch_end, "report": report or Report()}
            return loop.train(solo.Solo(run, program, member, **parts), resuming(run), until)

    def init(self, member: Member) -> TrainState:
        params = {"w": jnp.float32(1)}
        return TrainState(jnp.int32(0), params, (), self.carry(params))

    def carry(self, params: dict) -> Any:
        return jnp.int32(0)

    def adjust(self, hyper: Hyper, read: Callable[[], list[log.Event]]) -> Hyper:
        return hyper._replace(learning_rate=hyper.learning_rate * (1 + len(read())))

    def plan(self, member: Member, epoch: np.int32) -> np.ndarray:
        self.plans.append(int(epoch))
        return np.arange(EPOCH)[:, None] + 1000 * int(epoch)

    def steps(
        self,
        data: tuple,
        member: Member,
        *,
        state: TrainState,
        totals: Totals,
        items: Any,
        span: np.ndarray,
    ) -> tuple[TrainState, Totals]:
        first, last = map(int, span)
        step, w = int(state.step), np.float32(state.params["w"])
        assert int(state.carry) == step % EPOCH  # which every epoch begins anew
        self.spans.append((step, step + last - first))
        n, broken = int(totals.steps), int(totals.not_finite)
        sums = {name: np.float32(value) for name, value in totals.sums.items()}
        for item in np.asarray(items)[first:last, 0]:
            self.during.pop(step, lambda: None)()
            w = moved(w, item, member.hyper.learning_rate)
            n, sums = n + 1, {name: np.float32(value + w) for name, value in sums.items()}
            broken = min(broken, step) if step == self.broken else broken
            step += 1
            self.now += self.seconds
        sums = {name: jnp.float32(value) for name, value in sums.items()}
        carry = state.carry + (last - first)
        state = TrainState(jnp.int32(step), {"w": jnp.float32(w)}, (), carry)
        return state, Totals(jnp.int32(n), sums, jnp.int32(broken))

    def evaluate(self, params: dict, step: int) -> tuple[log.Event, str]:
        self.during.pop(("evaluate", step), lambda: None)()
        self.evaluations.append(step)
        where = {"split": "validation", "step": step, "epoch": step / EPOCH}
        scores = {"exact_match": step / STEPS, "token_accuracy": 1.0, "loss": float(params["w"])}
        return {"event": "evaluate", **where, **scores, "examples": 8}, f"at {step}\n"


def moved(w: np.float32, item: Any, rate: Any) -> np.float32:
    """What a step makes of the weight."""
    return np.float32(w * np.float32(0.9) + np.float32(item) * np.float32(rate))


def outcome(run: Path) -> tuple[list[log.Event], np.float32, list[str]]:
    """All that two runs must share: the log but for its times, the last weight, the samples."""
    last = checkpoint.steps(run, "params")[-1]
    weight = checkpoint.restore_params(run, {"w": np.float32(0)}, last)["w"]
    samples = sorted(path.read_text() for path in (run / "samples").iterdir())
    return events(run), np.float32(weight), samples


@pytest.fixture(autouse=True)
def no_fsync(monkeypatch):
    """No power cut is tested here, and a busy disk takes its time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple:
    """The outcome of a run that nothing interrupted."""
    run = tmp_path_factory.mktemp("whole")
    Fake().train(run)
    return outcome(run)


@pytest.fixture
def file_limit():
    """A function after which no file may grow beyond so many bytes: what a full disk looks like.

    -1 lifts the limit.
    """
    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE)
    yield lambda size: limit((before if size < 0 else size, hard))
    limit((before, hard))


# Spans, lines, epochs


def test_epochs_are_planned_evaluated_and_kept(tmp_path):
    """Fails when an epoch is planned twice or not at all, the unfinished last one is not evaluated,
    or a step is lost.
    """
    it, report = Fake(), Report()
    it.train(tmp_path, report)
    assert (it.plans, it.evaluations) == ([0, 1, 2], [25, 50, 64])
    assert [first for first, _ in it.spans] == [0, *(last for _, last in it.spans[:-1])]
    assert it.spans[-1][1] == report.total == report.seen[-1] == STEPS
    assert checkpoint.steps(tmp_path, "params") == [25, 50, 64]
    assert checkpoint.steps(tmp_path, "state") == [50, 64]
    assert {path.name: path.read_text() for path in (tmp_path / "samples").iterdir()} == {
        f"{step}.txt": f"at {step}\n" for step in (25, 50, 64)
    }


def test_lines_stand_at_their_steps_with_means_since_the_last(tmp_path):
    """Fails when a line comes late, its means take in the steps of the line before or leave some
    out, or the rate of an epoch is not the one that the epochs before it call for.
    """
    Fake().train(tmp_path)
    lines = [event for event in log.read(tmp_path) if event["event"] == "train"]
    due = [*range(3, 25, 3), 25, *range(28, 50, 3), 50, *range(53, 64, 3), 64]
    assert [line["step"] for line in lines] == due
    assert [line["epoch"] for line in lines] == [step / EPOCH for step in due]
    weights, w = [], np.float32(1)
    for step in range(STEPS):
        epoch, item = divmod(step, EPOCH)
        w = moved(w, item + 1000 * epoch, 1 + epoch)
        weights.append(w)
    means = [np.mean(weights[first:last]) for first, last in itertools.pairwise([0, *due])]
    np.testing.assert_allclose([line["gradient_norm"] for line in lines], means, rtol=1e-6)
    # Loss / tokens, which the fake makes equal.
    assert all(line["loss"] == pytest.approx(1) for line in lines)


@pytest.mark.parametrize("seconds", [0.0, 0.4, 2.0])
def test_the_pace_changes_only_the_times(seconds, whole, tmp_path):
    """Fails when what is logged, saved or trained depends on where the clock ends a span."""
    it = Fake(seconds=seconds)
    it.train(tmp_path / "paced")
    assert max(last - first for first, last in it.spans) == {0.0: 3, 0.4: 2, 2.0: 1}[seconds]
    assert outcome(tmp_path / "paced") == whole


def test_a_span_fits_the_clock(monkeypatch):
    """Fails when a span outgrows `SPAN_SECONDS`, leaps on one lucky measurement, or never shrinks
    again.
    """
    now, lengths = 0.0, []
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now))
    pace = loop.Pace(size=10)
    for a_step in [50.0, *[2**-7] * 6, 0.5, 0.5]:
        pace.start()
        now += a_step * pace.steps
        pace.lap(pace.steps)
        lengths.append(pace.steps)
    # The first, which compiles, tells nothing.
    assert lengths == [1, 4, 16, 64, 128, 128, 128, 2, 2]
    assert pace.rate == pytest.approx(20)


@jax.jit
def long(x: jax.Array) -> jax.Array:
    return jax.lax.fori_loop(0, 400, lambda _, x: jnp.tanh(x @ x), x)


class Long(loop.Session):
    """Steps that are still computed when `take` returns."""

    begin_epoch = tell = write_line = check_weights = end_epoch = end_amid = over = save = (
        lambda *_: None
    )

    def take(self, items: Any, span: Any) -> None:
        self.totals = long(jnp.ones((300, 300)))


def test_the_clock_counts_what_is_done():
    """Fails when the time of some steps is that of giving them to the device: rates are a hundred
    times too high, and Ctrl-C waits for all that was given.
    """
    jax.block_until_ready(long(jnp.ones((300, 300))))
    session = Long()
    session.program, session.step, session.plan = SimpleNamespace(batches=Items()), 0, []
    session.take((), ())
    assert not session.totals.is_ready()
    session.advance(0, 1)
    assert session.totals.is_ready()


def test_a_long_epoch_is_saved_on_the_way(tmp_path):
    """Fails when a crash in a long epoch costs more than `SAVE_SECONDS`."""
    it = Fake(seconds=loop.SAVE_SECONDS * 0.6)
    it.during[11] = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        it.train(tmp_path)
    assert checkpoint.steps(tmp_path, "state") == [8, 10]


# Ends


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (signal.SIGINT, 0),
        (signal.SIGTERM, 10),
        (signal.SIGINT, 24),
        (signal.SIGTERM, 37),
        (signal.SIGINT, STEPS - 1),
    ],
)
def test_a_signal_saves_and_stops_once(number, step, whole, tmp_path):
    """Fails when a signal loses a step or a half-summed line, stops the resumed run again, or is
    forgotten at the end.
    """
    it, run, before = Fake(seconds=0.9), tmp_path / "a run", signals.handlers()
    it.during[step] = lambda: signal.raise_signal(number)
    with pytest.raises(signals.Stopped) as stopped:
        it.train(run)
    assert str(stopped.value) == f"stopped at step {step + 1}; go on with: seqgen resume '{run}'"
    assert stopped.value.exit_code == 128 + number
    assert checkpoint.steps(run, "state")[-1] == step + 1
    assert signals.handlers() == before
    again, report, left = Fake(), Report(), step + 1 < STEPS
    again.train(run, report)
    assert again.plans[:1] == ([(step + 1) // EPOCH] if left else [])
    assert again.spans[:1] == ([(step + 1, step + 2)] if left else [])
    how = "goes on" if left else "has been trained to its end"
    assert report.notes == [f"{run}: {how}, step {step + 1} of 64"]
    assert outcome(run) == whole


def test_a_second_signal_acts_at_once(tmp_path):
    """Fails when a span that never ends cannot be stopped by a second Ctrl-C, or that one leaves
    its handlers behind.
    """
    it = Fake()

    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    it.during[30] = twice
    # A process in the background may have been started to ignore Ctrl-C.
    with signals.handling(signal.default_int_handler):
        before = signals.handlers()
        with pytest.raises(KeyboardInterrupt):
            it.train(tmp_path)
        assert signals.handlers() == before
    assert (it.spans[-1][0] <= 30, checkpoint.steps(tmp_path, "state")) == (True, [25])


def test_a_thread_trains_too(whole, tmp_path):
    """Fails when a notebook's server cannot train, because its thread gets no signals."""
    with ThreadPoolExecutor() as pool, signals.stoppable(""):
        pool.submit(Fake().train, tmp_path / "run").result()
    assert outcome(tmp_path / "run") == whole
    with ThreadPoolExecutor() as pool:
        pool.submit(Fake().train, tmp_path / "alone").result()
    assert outcome(tmp_path / "alone") == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_first_step_stops_there(number, tmp_path):
    """Fails when what is raised while something compiles can be swallowed, or a step is trained
    after the signal.
    """
    before, it = signals.handlers(), Fake()

    def compile_and_train() -> None:
        with suppress(BaseException):  # as a finalizer does
            signal.raise_signal(number)
        it.train(tmp_path)

    again = resuming(tmp_path)
    with pytest.raises(signals.Stopped) as stopped, signals.stoppable(again):
        compile_and_train()
    assert str(stopped.value) == f"stopped; go on with: seqgen resume {tmp_path}"
    assert (stopped.value.exit_code, it.spans) == (128 + number, [])
    assert signals.handlers() == before
    it.train(tmp_path)  # no signal is left over
    assert it.spans[-1][1] == STEPS


def test_ctrl_c_twice_stops_at_once(tmp_path):
    """Fails when compiling or drawing cannot be stopped, a handler of `Exception` mistakes the
    signal for a failure, or collecting within collecting takes a third.
    """

    def twice() -> None:
        with suppress(Exception), signals.signals() as caught:
            signal.raise_signal(signal.SIGINT)
            assert caught == [signal.SIGINT]
            signal.raise_signal(signal.SIGINT)

    again = resuming(tmp_path)
    with signals.handling(signal.default_int_handler):
        before = signals.handlers()
        with pytest.raises(signals.Stopped) as stopped, signals.stoppable(again):
            twice()
        assert signals.handlers() == before
    line = f"stopped; go on with: seqgen resume {tmp_path}"
    assert (str(stopped.value), stopped.value.exit_code) == (line, 130)


def test_a_loss_that_is_not_finite_stops(tmp_path):
    """Fails when training goes on with broken weights, saves or logs them, or does not say where
    they broke.
    """
    it, where = Fake(broken=40), "not finite at step 40; the checkpoint of step 25 is intact"
    with pytest.raises(SeqgenError, match=where) as error:
        it.train(tmp_path)
    assert error.value.exit_code == 1
    assert it.spans[-1][1] < 45
    assert checkpoint.steps(tmp_path, "state") == checkpoint.steps(tmp_path, "params") == [25]
    assert max(event["step"] for event in log.read(tmp_path)) <= 40
    with pytest.raises(SeqgenError, match="not finite at step 3; no checkpoint yet"):
        Fake(broken=3).train(tmp_path / "other")


def test_weights_that_are_not_finite_are_not_kept(tmp_path):
    """Fails when an update that overflowed after a finite loss, or an evaluation without a number,
    is saved or logged.
    """

    def overflow(*arguments, **options):
        state, totals = Fake().steps(*arguments, **options)
        w = jnp.where(state.step == 50, jnp.inf, state.params["w"])
        return state._replace(params={"w": w}), totals

    def unmeasured(params, step):
        event, samples = Fake().evaluate(params, step)
        return event | {"loss": float("nan") if step == 50 else event["loss"]}, samples

    one, other = Fake(), Fake()
    one.functions = one.functions._replace(steps=overflow)
    other.epoch_end = other.epoch_end._replace(evaluate=unmeasured)
    for what, it in (("weights", one), ("the evaluation's loss", other)):
        run, where = tmp_path / what, "step 50; the checkpoint of step 25 is intact"
        with pytest.raises(SeqgenError, match=f"{what} not finite at {where}"):
            it.train(run)
        assert checkpoint.steps(run, "state") == checkpoint.steps(run, "params") == [25]
        assert [event["step"] for event in log.epochs(run)] == [25]


@pytest.mark.parametrize(
    ("step", "size", "reason"),
    [
        (0, 600, "metrics.jsonl: File too large; all earlier lines are intact"),
        (0, 2**19, "params/25: File too large; there was none before it"),
        (30, 2**19, "params/50: File too large; the previous checkpoint (step 25) is intact"),
    ],
)
def test_a_full_disk_loses_nothing(step, size, reason, whole, file_limit, tmp_path):
    """Fails when a log or checkpoint that cannot be written takes an earlier one with it, or bars
    the way back.
    """
    run, it = tmp_path / "run", Fake()
    it.during[step] = lambda: file_limit(size)
    with pytest.raises(SeqgenError, match=f"^cannot write .*/{re.escape(reason)}$"):
        it.train(run)
    file_limit(-1)
    Fake().train(run)
    assert outcome(run) == whole


@pytest.mark.parametrize("crash", [None, 30, ("evaluate", 50)])
def test_enough_epochs_end_training(crash, tmp_path):
    """Fails when training goes on after its epochs are enough, does not get to them after a crash,
    or trains again when it is resumed.
    """
    run, it, report = tmp_path / "run", Fake(), Report()
    it.epoch_end = it.epoch_end._replace(enough=lambda events: len(events) >= 2)
    if crash:
        it.during[crash] = lambda: 1 / 0
        with pytest.raises(ZeroDivisionError):
            it.train(run)
    assert it.train(run)
    assert (it.evaluations, it.spans[-1][1]) == ([25, 50], 50)
    assert checkpoint.steps(run, "params") == checkpoint.steps(run, "state") == [25, 50]
    it.spans.clear()
    assert it.train(run, report)
    assert (it.spans, report.notes) == ([], [f"{run}: ended early, step 50 of 64"])
    assert log.epochs(run)[-1]["step"] == log.read(run)[-1]["step"] == 50


def test_time_is_up(whole, tmp_path):
    """Fails when training goes on after its time, stops before a step is taken, keeps no weights
    and scores of where it stopped, counts them as an epoch's, or goes on with any of them left.
    """
    run, reached = tmp_path / "run", []
    for until in (0.0, 9.5, 22.4, 44.0, 46.0):
        it = Fake(seconds=0.9)
        it.now = checkpoint.steps(run, "state")[-1] * 0.9 if reached else 0.0
        assert not it.train(run, until=until)
        step = it.spans[-1][1]
        reached.append(step)
        scored = log.evaluations(run)[-1]
        assert (scored["step"], scored.get("interim")) == (step, None if step == 25 else True)
        assert checkpoint.steps(run, "params")[-1] == checkpoint.steps(run, "state")[-1] == step
        assert (run / "samples" / f"{step}.txt").read_text() == f"at {step}\n"
        assert [event["step"] for event in log.epochs(run)] == [25, 50][: step // 25]
        log.append(run, {**scored, "final": True})  # as `fit` does
        (run / "samples" / "test.txt").write_text("tested")
    assert reached == [1, 11, 25, 49, 52]
    assert Fake().train(run)
    assert outcome(run) == whole


def test_the_best_epoch_outlasts_the_time(tmp_path, monkeypatch):
    """Fails when its weights make room for those of an epoch that was cut short."""
    monkeypatch.setattr(checkpoint, "PARAMS_LIMIT", 1)
    assert not Fake(seconds=0.9).train(tmp_path, until=30.0)
    best, cut = checkpoint.steps(tmp_path, "params")
    assert (best, log.evaluations(tmp_path)[-1]["step"]) == (EPOCH, cut)


# Resume


def test_a_crash_without_a_checkpoint_starts_over(whole, tmp_path):
    """Fails when lines of the log that no checkpoint stands behind stay, or an empty run cannot be
    resumed.
    """
    run, it = tmp_path / "run", Fake()
    it.during[20] = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        it.train(run)
    assert log.read(run)
    assert checkpoint.steps(run, "state") == []
    Fake().train(run)
    assert outcome(run) == whole


@pytest.mark.parametrize("crash", [24, 26, 60, ("evaluate", 50), ("evaluate", 64)])
def test_a_crash_goes_back_to_the_last_checkpoint(crash, whole, tmp_path):
    """Fails when the log is not cut back to the restored step, or a state is saved before what its
    epoch leaves.
    """
    run, it = tmp_path / "run", Fake()
    it.during[crash] = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        it.train(run)
    Fake().train(run)
    assert outcome(run) == whole


def test_a_damaged_checkpoint_is_skipped_aloud(whole, tmp_path):
    """Fails when damage to the newest checkpoint ends the run, goes unmentioned, or leaves later
    lines in the log.
    """
    run = tmp_path / "run"
    Fake().train(run)
    leaves = run / "checkpoints" / "state" / str(STEPS) / "leaves.json"
    leaves.write_text(leaves.read_text().replace("float32", "float64"))
    it, report = Fake(), Report()
    it.train(run, report)
    assert report.notes == [
        f"skipped a checkpoint: step {STEPS}: leaves.json: sha256 differs",
        f"{run}: goes on, step 50 of {STEPS}",
    ]
    assert it.spans[0][0] == 50
    assert outcome(run) == whole


@pytest.mark.parametrize("unmarked", [True, False])
def test_a_run_whose_states_are_gone_is_no_new_one(unmarked, tmp_path):
    """Fails when a run that lost its states is trained from the start, over its log and its epochs'
    parameters.
    """
    run, reason = tmp_path / "run", f"is empty, with parameters of step {STEPS}"
    Fake().train(run)
    if unmarked:
        reason = f"step {STEPS}: it has no SHA256SUMS; step 50: "
        for sums in run.glob("checkpoints/state/*/SHA256SUMS"):
            sums.unlink()
    else:
        shutil.rmtree(run / "checkpoints" / "state")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with pytest.raises(SeqgenError, match=reason):
        Fake().train(run)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("lost", ["checkpoints/params", "checkpoints/params/64/leaves.json"])
def test_lost_parameters_are_written_again(lost, whole, tmp_path):
    """Fails when a run that ended cannot answer any more, though its state holds the weights, or
    does it unsaid.
    """
    run, report = tmp_path / "run", Report()
    Fake().train(run)
    shutil.rmtree(run / lost, ignore_errors=True)
    (run / lost).unlink(missing_ok=True)
    Fake().train(run, report)
    said = f"written again from the state of step {STEPS}: no good checkpoint in "
    assert report.notes[-1].startswith(said)
    assert outcome(run) == whole


def test_a_finished_run_is_left_alone(whole, tmp_path):
    """Fails when resuming a run that has ended trains, evaluates or logs anything again."""
    run, it = tmp_path / "run", Fake()
    Fake().train(run)
    it.train(run)
    assert (it.spans, it.evaluations) == ([], [])
    assert outcome(run) == whole


# The log


def test_a_line_is_written_whole_or_not_at_all(file_limit, tmp_path):
    """Fails when a full disk leaves half a line, which would swallow the next one."""
    log.append(tmp_path, train_event(1))
    before = log.path(tmp_path).read_bytes()
    file_limit(len(before) + 10)
    with pytest.raises(SeqgenError, match="File too large; all earlier lines are intact"):
        log.append(tmp_path, train_event(2))
    file_limit(-1)
    assert log.path(tmp_path).read_bytes() == before
    log.append(tmp_path, train_event(2))
    assert [event["step"] for event in log.read(tmp_path)] == [1, 2]


def train_event(step: int) -> log.Event:
    return {
        "event": "train",
        "step": step,
        "epoch": 0.5,
        "loss": 1.5,
        "gradient_norm": 2.5,
        "examples_per_second": 3.5,
    }


def test_the_line_that_a_kill_cut_off_is_left_out(tmp_path):
    """Fails when a killed run cannot be read, or its half line is glued to the next one."""
    log.append(tmp_path, train_event(1))
    with open(log.path(tmp_path), "a") as file:
        file.write('{"event": "tra')
    assert [event["step"] for event in log.read(tmp_path)] == [1]
    log.cut(tmp_path, 1)
    log.append(tmp_path, train_event(2))
    assert [event["step"] for event in log.read(tmp_path)] == [1, 2]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "Expecting property name"),
        ("", "Expecting value"),
        ("[]", "not an event"),
        ("null", "not an event"),
        ('{"event": ["train"]}', "not an event"),
        ('{"event": "traim", "step": 2}', "not an event"),
        (json.dumps({**train_event(2), "step": "2"}), "train event without 'step'"),
        (json.dumps({**train_event(2), "loss": None}), "train event without 'loss'"),
        (json.dumps({**train_event(2), "event": "evaluate"}), "evaluate event without 'split'"),
        ("[" * 100_000, "maximum recursion depth exceeded"),
    ],
)
def test_a_foreign_line_is_named(line, reason, tmp_path):
    """Fails when a damaged log is a KeyError somewhere else, or its lines vanish without a word."""
    log.path(tmp_path).write_text(
        f"{json.dumps(train_event(1))}\n{line}\n{json.dumps(train_event(3))}\n"
    )
    with pytest.raises(SeqgenError, match=rf"metrics\.jsonl, line 2: {reason}"):
        log.read(tmp_path)


def test_a_log_that_is_no_file(tmp_path):
    """Fails when the operating system's error comes through as a traceback; a log that is not there
    yet is empty.
    """
    assert log.read(tmp_path) == []
    log.path(tmp_path).mkdir()
    with pytest.raises(SeqgenError, match=r"cannot read .*Is a directory"):
        log.read(tmp_path)
    with pytest.raises(SeqgenError, match=r"cannot write .*Is a directory"):
        log.append(tmp_path, train_event(1))


def test_the_best_step():
    """Fails when the loss decides before the exact match, or the higher loss wins among equals; or
    where the loss alone counts, as of texts, when it is the highest.
    """
    scores = [(1, 0.5, 0.1), (2, 0.9, 0.4), (3, 0.9, 0.3), (4, 0.9, 0.35)]
    epochs = [{"step": s, "exact_match": e, "loss": x} for s, e, x in scores]
    assert [family.metric.best(epochs) for family in FAMILIES] == [3, 1]


@pytest.mark.parametrize(
    ("select", "best", "ended"),
    [("exact_match", 3, 4), ("token_accuracy", 1, 3), ("loss", 4, None), ("best", 3, 4)],
)
def test_the_score_that_is_waited_for(select, best, ended):
    """Fails when another score than the one that was asked for selects, a lower loss is worse, or
    patience counts anything but the epochs since the best one.
    """
    names = "exact_match", "token_accuracy", "loss", "step"
    scores = [(0.1, 0.9, 4.0, 1), (0.5, 0.2, 3.0, 2), (0.5, 0.3, 2.0, 3), (0.4, 0.4, 1.0, 4)]
    epochs = [dict(zip(names, each, strict=True)) for each in scores]
    training = Training(select=select, patience=2 if select == "token_accuracy" else 1)
    pairs = FAMILIES[0]
    assert pairs.selecting(training).best(epochs) == best
    after = [n for n in range(len(epochs) + 1) if pairs.ended_early(training, epochs[:n])]
    assert after[:1] == ([] if ended is None else [ended])
    assert not pairs.ended_early(Training(), 9 * epochs[:1])


def test_totals_begin_at_zero():
    """Fails when a sum that the log divides by or shows is missing from the totals."""
    assert {**zero_totals().sums} == dict.fromkeys(["loss", "tokens", "gradient_norm"], 0)
