"""What holds for the whole suite: the CPU, jax at its strictest, a shared compilation cache."""

import gc
import multiprocessing
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path

# Before jax is imported, and for every process that a test starts.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "2"
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(Path(__file__).parents[1] / ".pytest_cache" / "jax")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
# Or it would be in XDG_CACHE_HOME.
os.environ["MPLCONFIGDIR"] = str(Path(__file__).parents[1] / ".pytest_cache" / "matplotlib")

import pytest

# The process that hands tests out to others needs neither jax nor seqgen: fixtures import them.


QUICK = (
    "--xla_cpu_use_fusion_emitters=false",
    "--xla_backend_optimization_level=0",
    "--xla_cpu_parallel_codegen_split_count=1",
)
"""What makes XLA compile fast; together they halve the time of the fast tests."""


def pytest_configure(config: pytest.Config) -> None:
    """Tiny programs do not repay the time of compiling them well; only where the bits of two
    programs are compared are they compiled as for users.
    """
    if config.option.markexpr != "bits":
        os.environ["XLA_FLAGS"] = " ".join(QUICK)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that start processes come first: they take longest, and last a core would wait."""
    first = {item.path for item in items if "run_seqgen" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in first)


def pytest_collection_finish() -> None:
    """Let Python's collector leave alone what stays for good, and look at the rest less often.

    While programs are traced it would take a tenth of the time and more.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


@pytest.fixture(scope="session", autouse=True)
def strict() -> None:
    """Jax refuses what is seldom meant."""
    import jax

    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_debug_key_reuse", True)


@pytest.fixture(scope="module", autouse=True)
def few_programs() -> Iterator[None]:
    """A file's compiled programs go with it: a process that kept all of them would run out of
    memory maps (65,530 on Linux), and crash.
    """
    import jax

    yield
    jax.clear_caches()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory) -> None:
    """Streams of tokens are kept for this session alone.

    The user's stay as they are, and ours are made by the code as it is.
    """
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session", autouse=True)
def blank_figures() -> Iterator[None]:
    """Figures are empty files, but where a test asks for `drawn_figures`."""
    from tests import drawing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(drawing.figure, "_render", drawing.blank)
        yield


@pytest.fixture
def drawn_figures(monkeypatch) -> None:
    """Figures are drawn."""
    from tests import drawing

    monkeypatch.setattr(drawing.figure, "_render", drawing.render)


@pytest.fixture(scope="session")
def book_files() -> Path:
    """The folder of the book's `addition.txt` and `date.txt`."""
    from tests.book_arrays import book_folder

    if (folder := book_folder()) is None:
        pytest.skip("no book files")  # why a skip: they are the book's, and no clone has them
    return folder


TINY = shlex.split(
    "--model.encoder.hidden 12 --model.decoder.hidden 12 --model.encoder.embedding 7 --lr 0.02"
)


@pytest.fixture(scope="session")
def attention_run(tmp_path_factory) -> Path:
    """A tiny run, trained once: attention, reversed, masked padding.

    Copy it before you damage it.
    """
    options = shlex.split("--task.digits 2 --draws 1000 --epochs 4")
    return train(tmp_path_factory.mktemp("attention"), "attention", *options)


@pytest.fixture(scope="session")
def book_run(tmp_path_factory) -> Path:
    """A tiny run, trained once: baseline, not reversed, a file in the book's padding and split.

    Copy it before you damage it.
    """
    from seqgen.tasks.addition import Addition
    from seqgen.tasks.dataset import Data, prepare

    file = tmp_path_factory.mktemp("book") / "addition.txt"
    prepare(Data(Addition(2), draws=500), file)
    options = "--padding book --no-reverse --epochs 3"
    return train(file.parent, "baseline", "--data", str(file), *shlex.split(options))


def train(folder: Path, model: str, *options: str) -> Path:
    """`seqgen train addition MODEL` with tiny sizes.

    What it prints stands beside the run, in `stdout` and `stderr`.
    """
    from seqgen.cli import main

    words = ["--name", str(folder / "run"), "--batch", "32", *TINY, *options]
    with (
        open(folder / "stdout", "w") as out,
        open(folder / "stderr", "w") as err,
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        assert main(["train", "addition", model, *words]) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def run_seqgen():
    """Starts `seqgen WORDS`, as a fork of a process that has imported everything and done nothing.

    Kills it in the end.
    """
    from tests import processes

    context = multiprocessing.get_context("forkserver")
    commands = [f"seqgen.cli.{name}" for name in ("train", "resume", "sweep")]
    context.set_forkserver_preload(["orbax.checkpoint", *commands])
    with ExitStack() as stack:

        def begin(
            words: Iterable[object], folder: Path, disk: int | None = None
        ) -> "processes.Process":
            arguments = [str(word) for word in words], folder, disk
            process = context.Process(target=processes.command, args=arguments)
            process.start()
            stack.callback(process.close)
            stack.callback(process.join)
            stack.callback(process.kill)
            return processes.Process(process, folder)

        yield begin


@pytest.fixture
def start(run_seqgen, tmp_path):
    """Starts `seqgen WORDS`, what it prints in the test's own folder."""
    return lambda *words, disk=None: run_seqgen(words, tmp_path, disk)
