"""`seqgen sweep`: each member is its solo run, few programs serve all, no stop costs a bit."""

import json
import random
import re
import shutil
import signal
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from seqgen import presets, sweeps
from seqgen.cli import main
from seqgen.cli import sweep as sweep_command
from seqgen.cli.sweep import selected
from seqgen.cli.terminal import run_to_end
from seqgen.config import RunConfig, Training
from seqgen.errors import SeqgenError, UsageError
from seqgen.families import create, finished, open_run, write_metadata
from seqgen.families.family import LAST_FIGURE
from seqgen.families.program import rate_divisor
from seqgen.models import rnn_language_model
from seqgen.storage import checkpoint, log
from seqgen.sweeps import compiled, state
from seqgen.sweeps.plan import Loaded, ProgramPlan, plan, shared_programs
from seqgen.sweeps.stacked import Stacked
from seqgen.tasks.addition import Addition
from seqgen.tasks.dataset import Data, prepare
from seqgen.tasks.markov import Markov
from seqgen.tasks.synthetic import Synthetic
from seqgen.training import loop, sharding
from tests.processes import events, outcome
from tests.test_sinks import in_tensorboard, logged, same

EXPERIMENT = """
from seqgen import presets
from seqgen.config import RunConfig, Training
from seqgen.sweeps.spec import product, values
from seqgen.tasks.addition import Addition
from seqgen.tasks.dataset import Data

SEEDS = range(2)


def base():
    model = presets.model("baseline", embedding=7, hidden=12)
    training = Training(steps=40, batch=32, schedule="cosine")
    return RunConfig(Data(Addition(2), draws=600), model, training)


def variants():
    made = product(presets.decoders(), {"": {}, "reverse": {"reverse": True}})
    some = {name: made[name] for name in ("baseline", "baseline-reverse", "attention")}
    return {**some, "fast": {"lr": 0.01}}
"""
"""Two programs: three variants share one, for they differ in data and rate alone."""

PLATEAU = """
def variants():
    rate = {"lr": 0.3, "schedule": "constant"}
    return {"divided": {**rate, "plateau": 8.0}, "plain": rate}
"""

MEMBERS = [
    f"{name}-{seed}"
    for name in ("baseline", "baseline-reverse", "attention", "fast")
    for seed in (0, 1)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A user's own folder, with an experiment in it."""
    folder = tmp_path_factory.mktemp("mine")
    for name, ending in {
        "own_ablation": "",
        "broken_ablation": "def (",
        "empty_ablation": "def variants():\n    return {}\n",
        "clashing_ablation": (
            "def variants():\n    return product(values('lr', [1]), {'b': {'lr': 2}})\n"
        ),
        "seedless_ablation": "SEEDS = [0, 0]\n",
        "plateau_ablation": PLATEAU,
    }.items():
        (folder / f"{name}.py").write_text(EXPERIMENT + ending)
    return folder


@pytest.fixture(autouse=True)
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend("")


def sweep(*words: object) -> int:
    """`seqgen sweep own_ablation WORDS`, in this process."""
    return main(["sweep", "own_ablation", *map(str, words)])


@pytest.fixture(scope="module")
def compilations() -> Counter:
    """How often each function has been compiled (or taken from the cache) since the module
    began.
    """
    seen: Counter = Counter()

    def listen(name: str, seconds: float, **about) -> None:
        if name == "/jax/core/compile/jaxpr_to_mlir_module_duration":
            seen[about["fun_name"]] += 1

    jax.monitoring.register_event_duration_secs_listener(listen)
    return seen


@pytest.fixture(scope="module")
def whole(folder, compilations, tmp_path_factory) -> Path:
    """A sweep that nothing disturbed."""
    runs = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert sweep("--runs", runs) == 0
    return runs / "own_ablation"


def outcomes(sweep: Path) -> dict[str, dict]:
    return {name: outcome(sweep / name) for name in MEMBERS}


def solo(member: Path, folder: Path) -> Path:
    """The run of a member's configuration, trained alone."""
    run = create(open_run(member).config, str(folder))
    run_to_end(run)
    return run.path


def same_weights(one: Path, other: Path) -> bool:
    """Whether the selected weights of two runs are alike to the bit."""
    alike = jax.tree.map(
        lambda a, b: bool((a == b).all()), open_run(one).params, open_run(other).params
    )
    return jax.tree.all(alike)


@pytest.mark.bits
@pytest.mark.parametrize("name", ["baseline-1", "baseline-reverse-0", "attention-1", "fast-0"])
def test_a_member_is_its_solo_run(whole, tmp_path, name):
    """Fails when a member trains on another's data or order, from another seed, at another rate, is
    scored on others', or a line of its log is missing, at another step or of other steps.
    """
    member, alone = whole / name, solo(whole / name, tmp_path / "solo")
    assert same_weights(member, alone)
    assert events(member) == events(alone)
    trained = [event for event in log.read(member) if event["event"] == "train"]
    due = [*range(2, 15, 2), 15, *range(17, 30, 2), 30, *range(32, 41, 2)]
    assert [event["step"] for event in trained] == due
    assert all(event["examples_per_second"] >= 0 for event in trained)
    one, other = (path / "samples" / "test.txt" for path in (member, alone))
    assert one.read_text() == other.read_text()
    assert open_run(member).evaluate() == open_run(alone).evaluate()


@pytest.mark.usefixtures("drawn_figures")
def test_members_have_figures(whole, tmp_path):
    """Fails when a finished member does not get the figures that it lacks from the command that
    trained it, gets others than a solo run draws, or is trained for them.
    """
    folder = Path(shutil.copytree(whole, tmp_path / "own_ablation"))
    before, lost = outcomes(folder), ("baseline-0", "attention-1")
    assert figures(folder / "baseline-1").keys() == {"learning.png", "learning.svg"}
    for name in lost:
        shutil.rmtree(folder / name / "figures")
    kept = {name: times(folder / name) for name in MEMBERS if name not in lost}
    assert sweep("--runs", tmp_path) == 0
    for name in lost:
        run = open_run(shutil.copytree(whole / name, tmp_path / name))
        run.family.draw(run)
        assert figures(folder / name) == figures(run.path)
        assert all(figures(run.path).values())
    assert {name: times(folder / name) for name in kept} == kept
    assert outcomes(folder) == before


def figures(run: Path) -> dict[str, bytes]:
    """The contents of a run's figures."""
    return {file.name: file.read_bytes() for file in (run / "figures").iterdir()}


def times(run: Path) -> dict[str, int]:
    """When each of a run's figures was written."""
    return {file.name: file.stat().st_mtime_ns for file in (run / "figures").iterdir()}


@pytest.mark.slow
def test_members_have_sinks_of_their_own(whole, tmp_path, monkeypatch, capsys):
    """Fails when a member's log goes nowhere, to another's folder, or only when all have ended; or
    when a member that was finished is trained for it.
    """
    folder = Path(shutil.copytree(whole, tmp_path / "own_ablation"))
    shutil.rmtree(folder / "fast-1")
    before, live = {name: times(folder / name) for name in MEMBERS[:-1]}, []
    save = Stacked.save

    def watched(self: Stacked) -> None:
        live.append((folder / "fast-1" / "tensorboard").exists())
        save(self)

    monkeypatch.setattr(Stacked, "save", watched)
    assert sweep("--runs", tmp_path, "--log", "tensorboard") == 0
    assert live[-1]
    assert "told no more" not in capsys.readouterr().err
    assert all(same(in_tensorboard(folder / name), logged(folder / name)) for name in MEMBERS)
    assert {name: times(folder / name) for name in MEMBERS[:-1]} == before


@pytest.mark.bits
def test_the_optimizer_is_the_one_that_was_asked_for(whole, tmp_path):
    """Fails when members are trained with Adam whatever their configuration says, or otherwise than
    a run that is trained alone.
    """
    words = ["--only", "baseline", "--seeds", "0", "--set", "optimizer=sgd"]
    assert sweep("--runs", tmp_path, *words) == 0
    member = tmp_path / "own_ablation" / "baseline-0"
    alone = solo(member, tmp_path / "solo")
    assert open_run(alone).config.training.optimizer == "sgd"
    assert same_weights(member, alone)
    assert events(member) == events(alone)
    assert not same_weights(member, whole / "baseline-0")


CHOSEN = ["--set", "select=token_accuracy", "--set", "patience=1", "--set", "evaluate_rows=20"]
CHOSEN += ["--set", "schedule=constant", "--set", "steps=90"]


@pytest.fixture(scope="module")
def chosen(folder, tmp_path_factory) -> Path:
    """A sweep whose members keep their own best weights, and of which some end early."""
    runs = tmp_path_factory.mktemp("chosen")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert sweep("--runs", runs, *CHOSEN) == 0
    return runs / "own_ablation"


@pytest.mark.bits
def test_a_member_keeps_its_best_weights(chosen, tmp_path):
    """Fails when a member is tested or answers with another epoch's weights than its solo run, one
    that ends early takes a step more, or the others end with it.
    """
    ends = {}
    for name in MEMBERS:
        member, run = chosen / name, open_run(chosen / name)
        assert finished(run)
        ends[name] = run.selected_step(), checkpoint.steps(member, "params")[-1]
        assert checkpoint.steps(member, "state") == [ends[name][1]]
    for name in {min(ends, key=lambda name: ends[name][1]), max(ends, key=ends.get), "fast-0"}:
        member, alone = chosen / name, solo(chosen / name, tmp_path / name)
        assert same_weights(member, alone)
        assert events(member) == events(alone)
        last = Path("checkpoints", "state", str(ends[name][1]), "leaves.json")
        assert (member / last).read_text() == (alone / last).read_text()
        assert open_run(member).selected_step() == open_run(alone).selected_step()
        assert open_run(member).evaluate() == open_run(alone).evaluate()
    assert len({last for _, last in ends.values()}) > 1, ends
    assert any(best < last for best, last in ends.values()), ends


@pytest.mark.bits
def test_a_sweep_goes_on_after_its_time(chosen, tmp_path, monkeypatch, capsys):
    """Fails when a stop or a crash loses a member's best weights, wakes one that has ended early,
    or leaves a trace; or when members are not scored where their time is up, or never end.
    """
    clock, tell = SimpleNamespace(now=0.0, crash=40), Stacked.tell

    def step(session: Stacked, steps: int, rate: float) -> None:
        tell(session, steps, rate)
        clock.now = float(session.step)
        if session.step == clock.crash:
            raise SeqgenError("a crash")

    with monkeypatch.context() as patch:
        patch.setattr(Stacked, "tell", step)
        patch.setattr(loop, "SPAN_SECONDS", 0.0)
        patch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock.now))
        for until in (8.0, 33.0, 50.0):
            patch.setattr(sweep_command, "until", lambda words, until=until: until)
            clock.now = 0.0
            if until == 50:
                assert sweep("--runs", tmp_path, *CHOSEN) == 1
                clock.now, clock.crash = 0.0, None
            assert sweep("--runs", tmp_path, *CHOSEN) == 0
            assert re.search(
                r"time is up: \d of 8 members are finished; go", capsys.readouterr().err
            )
            member = tmp_path / "own_ablation" / "baseline-0"
            final = log.read(member)[-1]
            assert (final.get("final"), final["split"]) == (True, "test")
            assert open_run(member).evaluate().loss == pytest.approx(final["loss"])
            assert (member / LAST_FIGURE).is_file()
    assert sweep("--runs", tmp_path, *CHOSEN) == 0
    assert outcomes(tmp_path / "own_ablation") == outcomes(chosen)


@pytest.mark.slow
def test_the_plateau_divides_each_member_s_own_rate(tmp_path):
    """Fails when a plateau changes nothing of pairs, or not the same alone and as a member, or when
    an epoch that was not the best divides the rate of a member whose own was.
    """
    assert main(["sweep", "plateau_ablation", "--seeds", "0,2", "--runs", str(tmp_path)]) == 0
    members = tmp_path / "plateau_ablation"
    divisors = []
    for seed in (0, 2):
        member, plain = members / f"divided-{seed}", members / f"plain-{seed}"
        divisors.append(rate_divisor(log.epochs(member)[:2], 8.0))
        assert same_weights(member, plain) == (divisors[-1] == 1)
    alone = solo(member, tmp_path / "solo")
    assert same_weights(member, alone)
    assert events(member) == events(alone)
    assert divisors == [1, 8]


def test_members_are_runs(whole, capsys):
    """Fails when a command that takes a run does not take a member, or a finished member is trained
    again.
    """
    run = str(whole / "attention-0")
    assert main(["predict", run, "1+2"]) == 0
    before = outcome(whole / "attention-0")
    assert main(["resume", run]) == 0
    assert "has been trained to its end" in capsys.readouterr().err
    after = outcome(whole / "attention-0")
    assert {name: after[name] for name in before} == before


def test_again_runs_nothing(whole, folder, capsys):
    """Fails when a finished sweep compiles or trains anything, or leaves its stacked state
    behind.
    """
    before = {path: path.stat().st_mtime_ns for path in whole.glob("*-*/**/*")}
    assert not (whole / ".stacked").exists()
    assert sweep("--runs", whole.parent) == 0
    assert capsys.readouterr().out == f"{whole}\n"
    assert {path: path.stat().st_mtime_ns for path in whole.glob("*-*/**/*")} == before
    assert sweep("--runs", whole.parent, "--dry-run") == 0
    said = "0 members to train of 8: 0 model-steps, 0 compiled programs"
    assert capsys.readouterr().out.startswith(said)


@pytest.mark.slow
def test_one_compilation_a_program(compilations, whole, tmp_path):
    """Fails when another seed, rate, set of data or length of a span compiles a program anew."""
    compilations.clear()
    words = ["--only", "baseline", "baseline-reverse", "fast", "--set", "steps=15"]
    assert sweep("--runs", tmp_path, *words) == 0
    few = Counter(compilations)
    compilations.clear()
    words = ["--seeds", "5:8", "--set", "clip=2.5", "--set", "steps=15"]
    assert sweep("--runs", tmp_path / "more", *words) == 0
    # Start, plan, train and evaluate, for each program.
    assert few["jit(run)"] == compilations["jit(run)"] / 2 == 4


@pytest.mark.bits
def test_how_many_train_at_a_time_changes_nothing(whole, tmp_path):
    """Fails when members of later batches are left out, or take another's seed or data; or when a
    place that no member fills takes part.
    """
    assert sweep("--runs", tmp_path, "--members-per-batch", 3) == 0
    assert outcomes(tmp_path / "own_ablation") == outcomes(whole)


def test_dry_run(tmp_path, capsys):
    """Fails when it trains, writes, or miscounts: 40 steps, 3 x 2 members of one program and 2 of
    another.
    """
    assert sweep("--runs", tmp_path, "--dry-run") == 0
    out = capsys.readouterr().out
    said = "8 members to train of 8: 320 model-steps, 2 compiled programs\n"
    assert out.startswith(said)
    said = "  6 members of 2,271 parameters, 40 steps each\n"
    assert f"program 1: baseline, baseline-reverse, fast\n{said}" in out
    assert re.search(r"  2 at a time on 2 devices; \d+ MB predicted, [\d,]+ MB free\n", out)
    assert list(tmp_path.iterdir()) == []


def test_the_scores_of_variants_are_told(whole, capsys):
    """Fails when a sweep ends without its scores, a mean is another variant's, or an interval is
    not Student's.
    """
    assert sweep("--runs", whole.parent) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if " seeds" in line]
    expected = []
    for name in ("baseline", "baseline-reverse", "attention", "fast"):
        one, other = (log.read(whole / f"{name}-{seed}")[-1]["exact_match"] for seed in (0, 1))
        mean, half = (one + other) / 2, 12.7062 * abs(one - other) / 2
        score = f"{mean:.2%} ({mean - half:.2%} to {mean + half:.2%})"
        expected.append(f"{name} · test exact match {score} · 2 seeds, 95 % interval")
    assert told == expected
    assert len(set(told)) > 1
    words = ["--only", "fast", "--seeds", "1"]
    assert sweep("--runs", whole.parent, *words) == 0
    assert re.search(r"fast · test exact match [\d.]+% · 1 seed\n", capsys.readouterr().err)


@pytest.mark.slow
def test_memory_decides_how_many_train_at_a_time(tmp_path, monkeypatch, capsys):
    """Fails when members beyond the memory are compiled for, or what cannot fit starts."""
    programs = planned(tmp_path)
    predicted = [compiled.compile_fitting(each, "map", None).bytes for each in programs]
    monkeypatch.setattr(sharding, "available_bytes", lambda: predicted[0] - 1)
    assert [compiled.compile_fitting(each, "map", None).count for each in programs] == [4, 2]
    monkeypatch.setattr(sharding, "available_bytes", lambda: 1000)
    assert sweep("--runs", tmp_path) == 1
    said = "baseline-0 and the 5 others of its program do not fit: 1 at a time"
    assert re.search(f"seqgen: error: .*{said}", capsys.readouterr().err)
    assert not list(tmp_path.glob("*/*-0"))
    monkeypatch.setattr(sharding, "available_bytes", lambda: predicted[0] - 1)
    assert sweep("--runs", tmp_path, "--members-per-batch", "6") == 1


def planned(path: Path) -> list[ProgramPlan]:
    """The compiled programs that the experiment takes."""
    import own_ablation

    return shared_programs(plan(selected(own_ablation, (), {}), range(2), path))


@pytest.mark.bits
def test_a_member_that_breaks(whole, tmp_path, capsys):
    """Fails when a loss that is not finite stops the others, costs them a bit, goes unmarked, or is
    tried again for ever.
    """
    words = ["--runs", tmp_path, "--only", "baseline", "fast", "--set", "clip=3e38"]
    broken = EXPERIMENT.replace('"fast": {"lr": 0.01}', '"fast": {"lr": 1e38}')
    (Path.cwd() / "breaking.py").write_text(broken)
    assert main(["sweep", "breaking", *map(str, words)]) == 0
    assert re.search(r"fast-0: not finite at step \d+; the others go on", capsys.readouterr().err)
    folder = tmp_path / "breaking"
    (event,) = [event for event in log.read(folder / "fast-1") if event["event"] == "broken"]
    assert event["step"] < 20
    assert not checkpoint.steps(folder / "fast-1", "params")
    assert not (folder / "fast-1" / "figures").exists()
    only = ["--only", "baseline", "--set", "clip=3e38", "--name", "others"]
    assert sweep("--runs", tmp_path, *only) == 0
    for name in ("baseline-0", "baseline-1"):
        mine, other = outcome(folder / name), outcome(tmp_path / "others" / name)
        assert mine == other
    assert main(["sweep", "breaking", *map(str, words), "--dry-run"]) == 0
    assert "0 members to train of" in capsys.readouterr().out
    assert main(["evaluate", str(folder / "fast-0")]) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kills", [2, 6])
def test_kill_9(whole, folder, start, tmp_path, kills):
    """Fails when a sweep killed at any moment, and run again, ends with another bit or line, or
    trains the finished anew.
    """
    chance, words = random.Random(time.time_ns()), ["sweep", "own_ablation", "--runs", tmp_path]
    target = tmp_path / "own_ablation"
    for moment in sorted(chance.choices(range(60), k=kills)):
        reached = partial(lambda moment: files(target) >= moment, moment)
        code = start(*words).when(reached, signal.SIGKILL, chance.uniform(0, 0.1))
        print(f"killed when {moment} files were there: {code}")
    batches = stacked(target)
    begun = {name for kept in batches for name in json.loads((kept / "members.json").read_text())}
    weights = [
        path
        for path in target.glob("*-*/checkpoints/params/*/*")
        if path.relative_to(target).parts[0] not in begun
    ]
    done = {path: path.stat().st_mtime_ns for path in weights}
    process = start(*words)
    assert process.wait() == 0, process.texts()
    assert process.texts()[1].count("go on at step") == len(batches)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert outcomes(target) == outcomes(whole)
    assert not (target / ".stacked").exists()


def stacked(target: Path) -> list[Path]:
    """The folders of batches of members that have a state, and are not being removed."""
    begun = (path.parent for path in target.glob(".stacked/*/members.json"))
    return sorted(kept for kept in begun if checkpoint.steps(kept, "state"))


def files(path: Path) -> int:
    return sum(1 for _ in path.glob("*-*/*")) + sum(1 for _ in path.glob("*-*/checkpoints/*/*"))


@pytest.mark.slow
def test_ctrl_c(whole, start, tmp_path):
    """Fails when a signal does not save, hides the command that goes on, or another set of seeds
    loses what was begun; or when that is not found under the name that its folder once had.
    """
    runs = tmp_path / "a folder"
    words, sweep = ["sweep", "own_ablation", "--runs", runs], runs / "own_ablation"
    while not stacked(sweep):  # before the first step there is nothing to save
        shutil.rmtree(sweep, ignore_errors=True)
        process = start(*words, "--seeds", "1")
        code = process.when(
            lambda: any(sweep.glob("*-1/metrics.jsonl")), signal.SIGINT, random.uniform(0, 0.1)
        )
    out, err = process.texts()
    again = f"seqgen sweep own_ablation --runs '{runs}' --seeds 1"
    assert re.search(rf"(^|\n)seqgen: error: stopped at step .*; go on with: {again}\n$", err)
    assert (code, out, "Traceback" in err) == (130, "", False)
    (sweep / ".stacked").rename(sweep / ".groups")
    process = start(*words)
    assert process.wait() == 0, process.texts()
    assert re.search(r"baseline-1 and 2 others go on at step [1-9]", process.texts()[1])
    assert outcomes(sweep) == outcomes(whole)
    assert not (sweep / ".groups").exists()


def test_what_was_begun_is_not_changed(whole, tmp_path, capsys):
    """Fails when members made with other settings are trained on, or their directories
    overwritten.
    """
    before = outcomes(whole)
    assert sweep("--runs", whole.parent, "--set", "steps=41") == 2
    assert "training.steps 40, now 41; use another --name" in capsys.readouterr().err
    assert outcomes(whole) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "cannot import 'nowhere' from "),
        (["json"], "json has no base(): it is not an experiment"),
        (["own_ablation", "--only"], "--only needs the name of a variant"),
        (
            ["own_ablation", "--set", "lr=0.3"],
            "'fast' sets 'lr' itself: it cannot be set for all",
        ),
        (["own_ablation", "--set", "hyper.lr=0.3"], "are one field, hyper.lr"),
        (
            ["own_ablation", "--split", "book"],
            "--split book needs --data, a file in the book's format",
        ),
        (
            ["own_ablation", "--only", "peeky"],
            "no variant 'peeky'; there are baseline, baseline-reverse, attention, fast",
        ),
        (["own_ablation", "--seeds", "3:3"], "--seeds must be like 0:10 or 0,3,7, not '3:3'"),
        (["own_ablation", "--seeds", "1,1"], "not '1,1'"),
        (["own_ablation", "--seeds", "2:2"], "not '2:2', which has no seed"),
        (["own_ablation", "--set", "batch=7", "--set", "devices=3"], "'baseline': "),
        (["own_ablation", "--seeds", "0:2:4"], "not '0:2:4'"),
        (["own_ablation", "--set", "steps"], "--set needs field=value, not 'steps'"),
        (["own_ablation", "--set", "step=3"], "did you mean training.steps"),
        (["own_ablation", "--set", "select=exact"], "(--set select=)"),
        (["own_ablation", "--set", "steps=3", "--set", "steps=4"], "'steps' is set twice"),
        (["own_ablation", "--set", "seed=3"], "field 'seed' cannot be set"),
        (["own_ablation", "--seeds", ""], "not ''"),
        (["own_ablation.py"], "use own_ablation, without the .py"),
        (["broken_ablation"], "cannot import 'broken_ablation' from"),
        (
            ["empty_ablation"],
            "empty_ablation.variants() must give a dictionary of names and changes, not {}",
        ),
        (
            ["clashing_ablation"],
            "clashing_ablation.variants(): 'b' sets 'lr', and so does what it is combined with",
        ),
        (["seedless_ablation"], "seedless_ablation.SEEDS must be like 0:10 or 0,3,7, not [0, 0]"),
        (
            ["own_ablation", "--members-per-batch", "0"],
            "--members-per-batch must be 1 or more, not 0",
        ),
        (["own_ablation", "--set", "batch=5000"], " training examples (--set batch=)"),
        (
            ["own_ablation", "--set", "window=5"],
            "none; use 35, its default (--set window=)",
        ),
        (["own_ablation", "--data", "none.txt"], "none.txt: No such file"),
    ],
)
def test_refusals(tmp_path, capsys, words, said):
    """Fails when bad usage is a traceback, is found out after members were made, or is not told in
    one clear line.
    """
    assert main(["sweep", *words, "--runs", str(tmp_path)]) in (1, 2)
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def begun(folder: Path, start, *words: object) -> Path:
    """A sweep stopped after its first epoch, with a stacked state."""
    sweep = folder / "own_ablation"
    while not stacked(sweep):  # it may come too late
        shutil.rmtree(sweep, ignore_errors=True)
        process = start("sweep", "own_ablation", "--runs", folder, *words)
        process.when(lambda: bool(stacked(sweep)), signal.SIGKILL)
    return sweep


@pytest.mark.slow
def test_a_damaged_state_is_told(whole, start, tmp_path):
    """Fails when a stacked state that cannot be read costs its members their steps without a word,
    or what a kill left of its removal bars the sweep for ever.
    """
    sweep = begun(tmp_path, start)
    (kept,) = stacked(sweep)
    for path in kept.glob("checkpoints/state/*/leaves.json"):
        path.unlink()
    before = outcome(sweep / "baseline-0")
    process = start("sweep", "own_ablation", "--runs", tmp_path)
    assert process.wait() == 1
    assert re.search(rf"; without {kept} its 6 members start again\n$", process.texts()[1])
    assert outcome(sweep / "baseline-0") == before
    (kept / "members.json").unlink()
    process = start("sweep", "own_ablation", "--runs", tmp_path)
    assert process.wait() == 0, process.texts()
    assert outcomes(sweep) == outcomes(whole)


@pytest.mark.slow
def test_a_member_that_was_deleted_begins_anew(whole, start, tmp_path):
    """Fails when its log, and those of its neighbours, begin amid their training."""
    sweep = begun(tmp_path, start)
    shutil.rmtree(sweep / "baseline-1", ignore_errors=True)
    process = start("sweep", "own_ablation", "--runs", tmp_path)
    assert process.wait() == 0, process.texts()
    assert outcomes(sweep) == outcomes(whole)


def test_a_damaged_list_of_members_is_left_alone(whole, tmp_path):
    """Fails when a members.json from elsewhere leads out of the sweep's folder, or its damage is a
    traceback.
    """
    shutil.copytree(whole, tmp_path / "a")
    shutil.copytree(whole / "baseline-0", tmp_path / "b")
    target = tmp_path / "b" / "c"
    shutil.copytree(whole, target)
    for names in (
        [".."],
        ["../../a/baseline-0"],
        ["../../b"],
        [str(tmp_path / "b")],
        [3],
        {},
        ["gone-0"],
        None,
        ["baseline-0"],
    ):
        kept = target / ".stacked" / state.digest(list(map(str, names or ())))
        (kept / "checkpoints" / "state" / "5").mkdir(parents=True, exist_ok=True)
        (kept / "checkpoints" / "state" / "5" / "SHA256SUMS").touch()
        (kept / "members.json").write_text(json.dumps(names) if names is not None else 3000 * "[")
        found = [[member.path.name for member in batch] for batch in state.interrupted(target, [])]
        assert found == ([names] if names == ["baseline-0"] else [])
    (kept / "members.json").write_text('["baseline-1"]')
    assert state.interrupted(target, []) == []


TEXT = RunConfig(
    Synthetic(Markov(order=1, size=3), train=400, validation=50, test=50),
    rnn_language_model.Config(3, 4),
    Training(steps=2, batch=4, window=8),
)


def never(*_: object) -> None:
    """Stands for what must not be called."""
    raise AssertionError


def test_what_was_begun_outlasts_other_members(tmp_path, monkeypatch):
    """Fails when a sweep of texts alone removes the stacked state of pairs, or members that are
    finished only because their batch was begun get no figures.
    """
    folder, words = tmp_path / "own_ablation", ["--runs", tmp_path, "--only", "baseline", "--seeds"]

    def fail(session: Stacked) -> None:
        raise SeqgenError("no end")

    with monkeypatch.context() as patch:
        patch.setattr(Stacked, "finish", fail)
        assert sweep(*words, "0") == 1
    begun = stacked(folder)
    with monkeypatch.context() as patch:
        patch.setattr(sweeps, "finish", lambda member: None)
        texts = plan({"text": TEXT}, [0], folder)
        options = {"note": never, "reporting": never, "again": ""}
        sweeps.sweep(texts, folder, fit=lambda run: None, **options)
    assert stacked(folder) == begun != []
    assert sweep(*words, "1") == 0
    assert (folder / "baseline-0" / LAST_FIGURE).is_file()
    assert not (folder / ".stacked").exists()


def test_a_sweep_refuses_before_it_trains(tmp_path):
    """Fails when a member that trains alone is refused only after the others have been trained."""
    write_metadata(*plan({"text": TEXT}, [0], tmp_path)[0])
    other = replace(TEXT, training=replace(TEXT.training, steps=3))
    pairs = RunConfig(
        Data(Addition(2), draws=300), presets.model("baseline", embedding=3, hidden=4)
    )
    both = plan({"pairs": pairs, "text": other}, [0], tmp_path)
    with pytest.raises(UsageError, match=r"training\.steps 2, now 3; use another name"):
        sweeps.sweep(both, tmp_path, fit=never, note=never, reporting=never, again="")


def test_a_member_goes_on_with_its_own_data(tmp_path):
    """Fails when a member that is known by its directory alone trains on a file that has changed
    since.
    """
    data = Data(Addition(2), draws=300)
    prepare(data, tmp_path / "data.txt")
    data = Data(Addition(), file=str(tmp_path / "data.txt"), split="book")
    config = RunConfig(data, presets.model("baseline", embedding=3, hidden=4))
    (member,) = plan({"pairs": config}, [0], tmp_path)
    write_metadata(*member)
    assert state.reopened(member.path, Loaded()).config == member.config
    (tmp_path / "data.txt").write_bytes((tmp_path / "data.txt").read_bytes() + b"1+1  _2  \n")
    with pytest.raises(SeqgenError, match="has changed since the run was made"):
        state.reopened(member.path, Loaded())


def test_members_carry_nothing_from_batch_to_batch(tmp_path):
    """Fails when members whose carry nothing would begin again at an epoch are compiled."""
    (each, _) = planned(tmp_path)
    init = each.program.init
    each.program = each.program._replace(
        init=lambda member: init(member)._replace(carry=jnp.zeros((32, 2)))
    )
    with pytest.raises(ValueError, match="share a carry"):
        compiled.compile_for(each, 1, "map")
