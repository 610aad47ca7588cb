"""What a process has set, and where it trains: the numbers are the same, or it says no at once."""

import json
import multiprocessing
import os
import shlex
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

import seqgen
from seqgen.cli import main
from seqgen.errors import SeqgenError
from seqgen.nn.switches import key
from seqgen.storage import log
from tests.processes import TIMES

SWITCHES = {
    "jax_enable_x64": True,
    "jax_default_prng_impl": "rbg",
    "jax_numpy_dtype_promotion": "strict",
    "jax_threefry_partitionable": False,
    "jax_random_seed_offset": 5,
    "jax_transfer_guard": "disallow",
}
"""What a person may have set for other programs, none of which is what jax has by itself."""

PAIRS = shlex.split(
    "addition attention --task.digits 2 --draws 300 --epochs 1 --batch 32 --lr 0.02 --dropout 0.1"
    " --decay 0.01 --model.encoder.hidden 12 --model.decoder.hidden 12 --model.encoder.embedding 7"
)
TEXT = shlex.split(
    "text language-model --data t.txt --batch 8 --window 8 --epochs 1 --dropout 0.1"
    " --model.hidden 12 --model.embedding 7"
)
SWEEP = """
from seqgen.presets import preset
from seqgen.sweeps.spec import override

def base():
    small = {"model.encoder.hidden": 12, "model.decoder.hidden": 12, "task.digits": 2, "draws": 300}
    return override(preset("addition", "attention"), {**small, "epochs": 1, "dropout": 0.1})

def variants():
    return {"slow": {}, "fast": {"lr": 0.02}}
"""
WORDS = {
    "pairs": [
        ["train", *PAIRS, "--name", "{}/pairs"],
        ["predict", "{}/pairs", "1+2", "12+34", "5+6", "--temperature", "2"],
        ["predict", "{}/pairs", "1+2", "12+34", "--beam", "3", "--length-penalty", "1"],
        ["evaluate", "{}/pairs", "--json"],
    ],
    "text": [
        ["train", *TEXT, "--name", "{}/text"],
        ["generate", "{}/text", "--prompt", "the", "--top-p", "0.9", "--n", "2", "--seed", "7"],
        ["evaluate", "{}/text", "--json"],
        ["score", "{}/text", "t.txt"],
    ],
    "sweep": [
        ["sweep", "small_sweep", "--seeds", "0,1", "--name", "{}/sweep"],
        ["predict", "{}/sweep/fast-1", "1+2", "12+34", "--temperature", "2"],
    ],
}
"""By what they are of, commands that follow on each other."""


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory):
    """The folder in which all stands."""
    folder = tmp_path_factory.mktemp("switches")
    (folder / "t.txt").write_text("the quick brown fox jumps over the lazy dog\n" * 40)
    (folder / "small_sweep.py").write_text(SWEEP)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def outcome(kind: str, name: str, capsys) -> list:
    """What the commands print, and each run's weights and log, to the bit."""
    capsys.readouterr()
    for words in WORDS[kind]:
        assert main([word.format(name) for word in words]) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out.replace(name, "")
    found: list = [printed]
    for path in sorted(file.parent for file in Path(name).rglob("config.json")):
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(seqgen.load(path).params)]
        events = [
            {name: value for name, value in event.items() if name not in TIMES}
            for event in log.read(path)
        ]
        found += [[(leaf.dtype.str, leaf.tobytes()) for leaf in leaves], events]
    return found


@pytest.fixture
def switched(monkeypatch):
    """Sets jax's switches for one test."""
    before = {}

    def switch(values) -> None:
        for name, value in values.items():
            before[name] = getattr(jax.config, name)
            jax.config.update(name, value)

    yield switch
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture(scope="module")
def plain() -> dict:
    """The outcomes under jax's own switches, each made once."""
    return {}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        *((kind, [*SWITCHES]) for kind in WORDS),
        *((kind, [name]) for name in SWITCHES for kind in WORDS),
    ],
    ids=lambda value: value if isinstance(value, str) else "all" if len(value) > 1 else value[0],
)
def test_a_switch_changes_no_bit(kind, names, switched, plain, capsys):
    """Fails when a dtype or a key is left to what the process has set: in a traceback, or, under
    rbg and the offset, silently in other weights and answers.
    """
    if kind not in plain:
        plain[kind] = outcome(kind, f"plain-{kind}", capsys)
    switched({name: SWITCHES[name] for name in names})
    assert outcome(kind, f"{kind}-{'-'.join(names)}"[:60], capsys) == plain[kind]


def test_keys_are_jax_s_own():
    """Fails when a seed gives another key than it did, or a stack of seeds other ones than each."""
    seeds = [0, 1, 7, 2**31 - 1, 2**31, 2**32 - 1]
    expected = [jax.random.key_data(jax.random.key(seed)) for seed in seeds]
    np.testing.assert_array_equal(jax.random.key_data(key(seeds)), expected)
    for seed, words in zip(seeds, expected, strict=True):
        np.testing.assert_array_equal(jax.random.key_data(key(seed)), words)


def test_no_jit_is_refused_before_anything_is_written(
    switched, attention_run, here, tmp_path, monkeypatch, capsys
):
    """Fails when a command goes on without jit, to a traceback that leaves a directory."""
    switched({"jax_disable_jit": True})
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(here)
    (tmp_path / "t.txt").write_text("the quick brown fox\n" * 200)
    run = str(attention_run)
    for words in (
        ["train", *PAIRS],
        ["train", *TEXT],
        ["sweep", "small_sweep"],
        ["sweep", "small_sweep", "--dry-run"],
        ["predict", run, "1+1"],
        ["evaluate", run],
        ["attention", run, "1+1"],
    ):
        assert main(words) == 2, words
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert "unset JAX_DISABLE_JIT" in err
    assert [path.name for path in tmp_path.iterdir()] == ["t.txt"]


def test_training_in_a_thread(plain, capsys):
    """Fails when a handler of signals is set where none can be: in a notebook's server commands run
    in threads.
    """
    if "pairs" not in plain:
        plain["pairs"] = outcome("pairs", "plain-pairs", capsys)
    codes: list[int] = []
    words = [word.format("threaded") for word in WORDS["pairs"][0]]
    thread = threading.Thread(target=lambda: codes.append(main(words)))
    thread.start()
    thread.join()
    assert codes == [0]
    made, expected = (seqgen.load(f"./{name}/pairs").params for name in ("threaded", "plain-pairs"))
    jax.tree.map(np.testing.assert_array_equal, made, expected)


def answers(run: str) -> list[str]:
    return seqgen.load(run).predict(["1+1"])


@pytest.mark.filterwarnings("ignore:os.fork", "ignore:.*use of fork")  # that is what is tested
def test_a_pool_of_forks_is_refused(attention_run):
    """Fails when a forked process waits for ever for threads of jax that are not there. (One whose
    parent had not started jax is not refused: so `run_seqgen` starts processes.)
    """
    assert answers(str(attention_run))  # jax has started
    with multiprocessing.get_context("fork").Pool(1) as pool:
        waiting = pool.apply_async(answers, [str(attention_run)])
        with pytest.raises(SeqgenError, match=r'multiprocessing\.get_context\("spawn"\)'):
            waiting.get(timeout=60)


def test_what_is_set_for_the_compiler_is_kept(switched, monkeypatch, here):
    """Fails when numbers were made with other precision or flags, and no file says so."""
    run, flags = seqgen.load("./plain-pairs/pairs"), os.environ.get("XLA_FLAGS")
    assert run.changes() == []
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
    switched({"jax_default_matmul_precision": "bfloat16"})
    told = ["matmul_precision None, now bfloat16"]
    told.append(f"xla_flags {flags}, now --xla_cpu_enable_fast_math=true")
    assert run.changes() == told
    made = json.loads((run.path / "versions.json").read_text())
    assert (made["matmul_precision"], made["xla_flags"]) == (None, flags)
