"""Checkpoints: the bits come back, or a reason does."""

import hashlib
import itertools
import json
import multiprocessing
import os
import random
import resource
import runpy
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from seqgen.errors import SeqgenError
from seqgen.storage import checkpoint
from seqgen.storage.checkpoint import restore_params, restore_state, save_params, save_state, steps


class Cell(NamedTuple):
    wx: jax.Array
    b: jax.Array


class State(NamedTuple):
    step: jax.Array
    params: dict[str, Cell]
    opt_state: optax.OptState
    carry: tuple


def make(step: int, width: int = 12) -> State:
    """A state whose bits `step` decides: float32, bfloat16, int32, 0-d, and empty nodes."""
    generator = np.random.default_rng(step)
    params = {
        name: Cell(
            jnp.asarray(generator.normal(size=(7, width)), jnp.float32),
            jnp.asarray(generator.normal(size=5), jnp.bfloat16),
        )
        for name in ("encoder", "decoder")
    }
    return State(jnp.int32(step), params, optax.adam(1e-3).init(params), ())


def assert_same(actual, expected) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        assert (a.dtype, a.shape, np.asarray(a).tobytes()) == (
            e.dtype,
            e.shape,
            np.asarray(e).tobytes(),
        )


def folder(run: Path, step: int, kind: str = "state") -> Path:
    return run / "checkpoints" / kind / str(step)


@pytest.fixture(scope="module")
def processes():
    """Processes that start at once: forks of one that has imported everything and done nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["orbax.checkpoint.v1", "optax", "pytest", "seqgen.storage.checkpoint"]
    )
    return context


@pytest.fixture(scope="module")
def two_saves(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("run")
    save_state(run, 600, make(600))
    save_state(run, 702, make(702))
    return run


@pytest.fixture
def run(two_saves, tmp_path) -> Path:
    """A run with the states 600 and 702, to be damaged."""
    return Path(shutil.copytree(two_saves, tmp_path / "run"))


def test_round_trip_is_bitwise_and_may_use_relative_paths(tmp_path, monkeypatch):
    """Fails if a leaf is cast, loses NaN's payload or the sign of zero, or comes back to another
    leaf's place.
    """
    monkeypatch.chdir(tmp_path)
    odd = np.array([0x7FC00001, 0x80000000, 0x00000001, 0xFF800000], np.uint32).view(np.float32)
    state = make(3)._replace(
        carry=(jnp.asarray(odd), jnp.array([True, False]), jnp.asarray([[-3]], jnp.int8), 7)
    )
    save_state(Path("run"), 3, state)
    step, restored, skipped = restore_state(Path("run"), state)
    assert (step, skipped) == (3, [])
    assert_same(restored._replace(carry=restored.carry[:3]), state._replace(carry=state.carry[:3]))
    assert restored.carry[3] == 7
    abstract = jax.eval_shape(lambda: make(3))
    save_params(Path("run"), 3, make(3).params)
    assert_same(restore_params(Path("run"), abstract.params, 3), make(3).params)


def test_wide_integers_of_the_host_stay_on_the_host(tmp_path):
    """Fails if a NumPy leaf goes through jax, which cuts int64 to int32."""
    tree = {"examples": np.array([2**40 + 1])}
    save_state(tmp_path, 1, tree)
    restored = restore_state(tmp_path, tree)[1]["examples"]
    assert (type(restored), restored.dtype, int(restored[0])) == (np.ndarray, np.int64, 2**40 + 1)


def test_a_donated_state_was_saved_before_it_was_overwritten(tmp_path):
    """Fails if the save still reads the buffers after it has returned."""
    state, expected = make(5), make(5)
    save_state(tmp_path, 5, state)
    jax.block_until_ready(
        jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree), donate_argnums=0)(state)
    )
    assert_same(restore_state(tmp_path, expected)[1], expected)


def test_restored_leaves_are_as_uncommitted_as_before(run):
    """Fails if a restored state makes the compiled step compile again."""
    step: Any = jax.jit(lambda tree: jax.tree.map(lambda x: x + 1, tree))
    step(make(1))
    step(restore_state(run, make(1))[1])
    assert step._cache_size() == 1


def save_and_restore_sharded(run: Path) -> None:
    jax.config.update("jax_num_cpu_devices", 2)
    mesh = jax.make_mesh((2,), ("x",), axis_types=(AxisType.Auto,))
    x = jax.device_put(jnp.arange(6.0), NamedSharding(mesh, PartitionSpec("x")))
    save_state(run, 1, x)
    y = restore_state(run, jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding))[1]
    assert y.sharding == x.sharding
    assert [shard.data.tolist() for shard in y.addressable_shards] == [[0, 1, 2], [3, 4, 5]]


def test_sharded_leaves_come_back_sharded(tmp_path, processes):
    """Fails if only one device's shard is saved, or if the sharding of `like` is not used."""
    process = processes.Process(target=save_and_restore_sharded, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "deleted":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(data[: len(data) // 2])
    else:
        data[int(how) % len(data)] ^= 1 << (int(how) % 8)
        path.write_bytes(data)


@pytest.mark.parametrize("how", ["deleted", "truncated", "0", "97", "-1"])
def test_damage_to_any_file_falls_back_and_says_why(run, how):
    """Fails if one file of a checkpoint is read unchecked: Orbax loads a flipped bit in the data
    without a word.
    """
    files = [path for path in folder(run, 702).rglob("*") if path.is_file() and path.stat().st_size]
    assert len(files) >= 8
    for path in files:
        good = path.read_bytes()
        damage(path, how)
        step, restored, skipped = restore_state(run, make(0))
        assert step == 600
        assert_same(restored, make(600))
        assert len(skipped) == 1
        assert skipped[0].startswith("step 702: ")
        assert path.name == "SHA256SUMS" or path.name in skipped[0], (path, skipped)
        path.write_bytes(good)
    assert restore_state(run, make(0))[0] == 702


def test_sums_that_were_cut_between_two_lines_are_refused(run):
    """Fails if the files whose lines are lost would go unchecked."""
    sums = folder(run, 702) / "SHA256SUMS"
    lines = sums.read_text().splitlines(keepends=True)
    for kept in range(len(lines)):
        sums.write_text("".join(lines[:kept]))
        assert restore_state(run, make(0))[2] == ["step 702: SHA256SUMS: cut short"]


def test_a_leaf_that_differs_in_files_that_agree_is_named(run):
    """Fails if only the files are checked: what Orbax itself writes or reads wrongly would pass."""
    leaves = folder(run, 702) / "leaves.json"
    content = json.loads(leaves.read_text())
    content["params.decoder.wx"]["sha256"] = "0" * 64
    before = hashlib.sha256(leaves.read_bytes()).hexdigest()
    leaves.write_text(json.dumps(content))
    sums = folder(run, 702) / "SHA256SUMS"
    sums.write_text(
        sums.read_text().replace(before, hashlib.sha256(leaves.read_bytes()).hexdigest())
    )
    assert restore_state(run, make(0))[2] == ["step 702: leaf params.decoder.wx: sha256 differs"]


def test_sha256sum_agrees(run):
    """Fails if the file of sums is not in the format of the tool that the docstring names."""
    if shutil.which("sha256sum"):
        subprocess.run(
            ["sha256sum", "-c", "--strict", "--quiet", "SHA256SUMS"],
            cwd=folder(run, 702),
            check=True,
        )


def test_unfinished_folders_and_leftovers_are_no_checkpoints(run):
    """Fails if an empty folder becomes the latest, counts as one of the last two, or a leftover is
    never cleaned.
    """
    folder(run, 900).mkdir()
    shutil.copytree(folder(run, 702), folder(run, 703).with_name("703.tmp"))
    assert steps(run, "state") == [600, 702]
    step, _, skipped = restore_state(run, make(0))
    assert (step, skipped) == (702, ["step 900: it has no SHA256SUMS"])
    folder(run, 701).mkdir()
    save_state(run, 704, make(704))
    assert sorted(path.name for path in folder(run, 0).parent.iterdir()) == ["702", "704"]


def test_shape_and_dtype_must_be_those_wanted(run):
    """Fails if Orbax's silent cast, or a tree of another shape or other names, is let through."""
    like = make(0)

    def reason(**changes):
        with pytest.raises(SeqgenError) as caught:
            restore_state(run, like._replace(**changes))
        assert str(caught.value).count("; step 600: ") == 1
        return str(caught.value).split("step 702: ")[1].split(";")[0]

    assert reason(step=jnp.float32(0)) == "leaf step: saved as int32[], wanted as float32[]"
    wide = {"encoder": like.params["encoder"], "decoder": make(0, width=13).params["decoder"]}
    assert (
        reason(params=wide)
        == "leaf params.decoder.wx: saved as float32[7, 12], wanted as float32[7, 13]"
    )
    assert reason(carry=(jnp.zeros(2),)) == "leaf carry.0: not in the checkpoint"
    assert reason(params={"encoder": like.params["encoder"]}) == "leaf params.decoder.b: not wanted"


def test_none_good_says_why_of_each(run, tmp_path):
    """Fails if the last resort is an exception of Orbax, or an untrained state."""
    for step in (600, 702):
        (folder(run, step) / "leaves.json").unlink()
    with pytest.raises(
        SeqgenError,
        match=r"step 702: leaves.json: no such file; step 600: leaves.json: no such file",
    ):
        restore_state(run, make(0))
    with pytest.raises(SeqgenError, match="it has none"):
        restore_state(tmp_path / "nothing", make(0))


def test_two_states_are_kept_and_a_left_future_is_dropped(tmp_path):
    """Fails if states pile up, the newest is dropped, or a run resumed at 2 may later be restored
    at 9.
    """
    for step in (1, 2, 9):
        save_state(tmp_path, step, make(step))
    assert steps(tmp_path, "state") == [2, 9]
    save_state(tmp_path, 3, make(3))
    assert steps(tmp_path, "state") == [2, 3]
    save_state(tmp_path, 3, make(30))
    assert steps(tmp_path, "state") == [2, 3]
    assert_same(restore_state(tmp_path, make(0))[1], make(30))


def test_parameters_are_kept_up_to_the_limit(tmp_path, monkeypatch):
    """Fails if the oldest are not dropped, the best or the newest is, or an asked-for step is
    silently replaced.
    """
    params = make(0).params
    save_params(tmp_path, 1, params)
    size = sum(path.stat().st_size for path in folder(tmp_path, 1, "params").rglob("*"))
    monkeypatch.setattr(checkpoint, "PARAMS_LIMIT", 3 * size + size // 2)
    for step in (2, 3, 4):
        save_params(tmp_path, step, params, keep={1})
    assert steps(tmp_path, "params") == [1, 3, 4]
    monkeypatch.setattr(checkpoint, "PARAMS_LIMIT", 1)
    save_params(tmp_path, 5, params, keep={3})
    assert steps(tmp_path, "params") == [3, 5]
    assert_same(restore_params(tmp_path, params, 3), params)
    with pytest.raises(SeqgenError, match="step 4: there is none"):
        restore_params(tmp_path, params, 4)
    damage(folder(tmp_path, 5, "params") / "leaves.json", "0")
    with pytest.raises(SeqgenError, match=r"step 5: leaves.json: sha256 differs"):
        restore_params(tmp_path, params, 5)


class Killed(BaseException):
    pass


def test_dying_before_any_step_of_a_save_loses_nothing(run, monkeypatch):
    """Fails if at one moment the newest name stands for half a checkpoint, or the old one goes
    before the new is there.
    """
    from orbax.checkpoint import v1 as ocp

    def mortal(function):
        def call(*arguments, **keywords):
            nonlocal lives
            lives -= 1
            if lives < 0:
                raise Killed
            return function(*arguments, **keywords)

        return call

    places = [(Path, "mkdir"), (Path, "rename"), (Path, "write_text"), (os, "rmdir"), (ocp, "save")]
    survived, moment = False, 0
    while not survived:
        lives, again = moment, run.with_name(f"again{moment}")
        shutil.copytree(run, again)
        with monkeypatch.context() as patch:
            for place, name in places:
                patch.setattr(place, name, mortal(getattr(place, name)))
            try:
                save_state(again, 800, make(800))
                survived = True
            except Killed:
                pass
        step, restored, skipped = restore_state(again, make(0))
        assert step in (702, 800)
        assert skipped == []
        assert_same(restored, make(step))
        for finished in steps(again, "state"):
            checkpoint._check_files(folder(again, finished))
        save_state(again, 801, make(801))
        assert sorted(path.name for path in folder(again, 0).parent.iterdir()) == [str(step), "801"]
        moment += 1
    assert moment > 8


def save_for_ever(run: Path, started) -> None:
    for step in itertools.count(1):
        save_state(run, step, make(step, 999))
        started.set()


def test_kill_9_at_random_moments(tmp_path, processes):
    """Fails if a process killed within a save leaves something that is restored wrongly, or stands
    in the way.
    """
    chance = random.Random(time.time_ns())
    for run in [tmp_path / str(i) for i in range(4)]:
        started = processes.Event()
        process = processes.Process(target=save_for_ever, args=(run, started))
        process.start()
        assert started.wait(60)
        time.sleep(chance.uniform(0, 0.3))
        process.kill()
        process.join()
        step, restored, skipped = restore_state(run, make(0, 999))
        assert skipped == []
        assert_same(restored, make(step, 999))
        save_state(run, step + 1, make(step + 1, 999))
        assert sorted(path.name for path in folder(run, 0).parent.iterdir()) == sorted(
            [str(step), str(step + 1)]
        )


def save_beyond_the_limit(run: Path, probed: bool, output: Path) -> None:
    save_state(run, 1, make(1))
    save_state(run, 2, make(2))
    if not probed:
        pytest.MonkeyPatch().setattr(checkpoint, "_probe", lambda path, size: None)
    os.dup2(os.open(output.with_suffix(".err"), os.O_WRONLY | os.O_CREAT), 2)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    try:
        save_state(run, 3, make(3, 9999))
    except SeqgenError as error:
        output.write_text(str(error))


@pytest.mark.parametrize("probed", [True, False])
def test_a_full_disk_is_one_clear_line(tmp_path, processes, probed):
    """Fails if an error of the disk, or of tensorstore's threads about it, is not caught, or if a
    temporary stays.
    """
    process = processes.Process(
        target=save_beyond_the_limit, args=(tmp_path, probed, tmp_path / "out")
    )
    process.start()
    process.join()
    where = folder(tmp_path, 3)
    intact = "the previous checkpoint (step 2) is intact"
    expected = f"cannot write checkpoint at {where}: File too large; {intact}"
    assert (tmp_path / "out").read_text() == expected
    assert not (tmp_path / "out.err").read_text()
    assert sorted(path.name for path in where.parent.iterdir()) == ["1", "2"]
    assert_same(restore_state(tmp_path, make(0))[1], make(2))


def test_threads_of_a_failed_save_write_on(tmp_path, monkeypatch):
    """Fails if its temporary stays where a thread still puts files into it while it is deleted."""

    def fail(folder, arrays):
        thread.start()
        raise OSError("the disk fails")

    def write_on():
        for number in range(3000):
            with suppress(FileNotFoundError):
                (folder(tmp_path, 1).with_name("1.tmp") / str(number)).touch()

    thread = Thread(target=write_on)
    monkeypatch.setattr(checkpoint, "_fill", fail)
    with pytest.raises(SeqgenError, match="the disk fails"):
        save_state(tmp_path, 1, make(1))
    thread.join()
    assert not list(folder(tmp_path, 1).parent.iterdir())


def test_a_parent_that_is_a_file(tmp_path):
    """Fails if the operating system's error comes through as a traceback."""
    (tmp_path / "run").touch()
    with pytest.raises(
        SeqgenError,
        match=r"cannot write checkpoint at .*: Not a directory; there was none before it",
    ):
        save_state(tmp_path / "run", 1, make(1))


def test_old_names_of_leaves_are_read_under_the_new(tmp_path):
    """Fails if a run that was saved before its leaves were renamed cannot be read or resumed, or if
    the end of a longer name is renamed with them.
    """
    weights, step = np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7)

    def model(projection: str) -> dict:
        return {"encoder": weights, projection: {"w": weights + 1}, "drawbridge": weights + 2}

    def state(projection: str, not_finite: str) -> tuple:
        params = model(projection)
        moments = ({"mu": params, "nu": model(projection)},)
        return {"params": params, "opt_state": moments}, {"steps": step, not_finite: step + 1}

    save_state(tmp_path, 3, state("bridge", "broken"))
    save_params(tmp_path, 3, model("bridge"))
    found, restored, skipped = restore_state(tmp_path, state("projection", "not_finite"))
    assert (found, skipped) == (3, [])
    assert_same(restored, state("projection", "not_finite"))
    assert_same(restore_params(tmp_path, model("projection"), 3), model("projection"))
    leaves = json.loads((folder(tmp_path, 3) / "leaves.json").read_text())
    assert {"0.params.bridge.w", "0.opt_state.0.mu.bridge.w", "1.broken"} < leaves.keys()


def test_leaves_with_one_name_are_refused(tmp_path):
    """Fails if two leaves are written under one name, so that one of them is lost."""
    with pytest.raises(ValueError, match="same dotted name"):
        save_state(tmp_path, 1, {"a.b": jnp.ones(1), "a": {"b": jnp.ones(1)}})


def test_the_module_does_not_import_orbax(monkeypatch):
    """Fails if every command pays for Orbax (0.6 s) at its start."""
    monkeypatch.setitem(sys.modules, "orbax", None)
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    runpy.run_path(checkpoint.__file__)
