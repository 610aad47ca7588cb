"""The command line's outside: dispatch, exit codes, start-up time, the compilation cache, `seqgen
doctor`.
"""

import importlib.util
import io
import math
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import jax
import pytest

import seqgen
from seqgen import cli
from seqgen.cli import doctor, terminal
from seqgen.cli.parse import until
from seqgen.errors import SeqgenError, UsageError

HEAVY = {"jax", "flax", "numpy", "matplotlib", "tyro"}
CUDA, TPU = doctor.ACCELERATORS


PLAIN = {
    name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "PYTHON"))
}
"""A user's environment: without what tests/conftest.py sets."""


def python(code: str, **environment: str) -> str:
    """The output of `code` in a fresh process."""
    options = {"env": PLAIN | environment, "check": True, "capture_output": True, "text": True}
    return subprocess.run([sys.executable, "-c", code], **options).stdout


@pytest.fixture
def command(monkeypatch):
    """`seqgen probe`, which does whatever function it is given."""

    def install(function) -> None:
        monkeypatch.setitem(cli.COMMANDS, "probe", ("probe_module", "a test's own"))
        monkeypatch.setitem(sys.modules, "probe_module", SimpleNamespace(main=function))

    return install


def fail(error: BaseException):
    """A function that raises."""

    def function(*_) -> None:
        raise error

    return function


# Start-up


@pytest.mark.parametrize(
    ("words", "seconds"),
    [("90s", 90), ("40m", 2400), ("1h30m", 5400), ("2h", 7200), ("1h0m7s", 3607), (None, math.inf)],
)
def test_a_length_of_time(words, seconds, monkeypatch):
    """Fails when a unit counts as another, or no limit is one."""
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    assert until(words) == 1000 + seconds


@pytest.mark.parametrize("words", ["", "40", "0s", "0h0m", "1m1h", "1.5h", "-5s", "40 m", "2d"])
def test_no_length_of_time(words):
    """Fails when what is no length of time is taken for one."""
    with pytest.raises(UsageError, match="--max-time must be like 90s, 40m or 1h30m, not"):
        until(words)


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"], ["--version"]])
def test_the_first_screen_loads_nothing_heavy(words):
    """Fails when something that `seqgen` or `seqgen.cli` imports comes to import jax, tyro or
    another slow package.
    """
    out = python(
        f"import sys; from seqgen.cli import main; print(main({words}), {HEAVY} & {{*sys.modules}})"
    )
    assert out.endswith("0 set()\n")
    assert ("seqgen 0." if words == ["--version"] else "usage: seqgen COMMAND") in out


def test_what_opens_a_run_draws_nothing():
    """Fails when `seqgen.load` or a command that only answers comes to import matplotlib."""
    commands = ", ".join(f"seqgen.cli.{name}" for name in ("predict", "generate", "evaluate"))
    out = python(
        f"import sys, seqgen.families, {commands}; print({{'matplotlib'}} & {{*sys.modules}})"
    )
    assert out == "set()\n"


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_the_first_screen_is_quick(option):
    """Fails when answering takes half a second: an import too many, or work done before the first
    word is read.
    """

    def seconds() -> float:
        begin = time.perf_counter()
        subprocess.run([sys.executable, "-m", "seqgen", option], check=True, capture_output=True)
        return time.perf_counter() - begin

    assert min(seconds() for _ in range(3)) < 0.5  # the quickest of three: the machine may be busy


def test_help_lists_every_command(capsys):
    """Fails when a command is left out of the overview, or two run into one line."""
    assert cli.main(["--help"]) == 0
    words = [
        line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")
    ]
    assert words == list(cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_its_module(name):
    """Fails when the table names a module that is not there."""
    assert importlib.util.find_spec(cli.COMMANDS[name][0])


# Dispatch and exit codes


def test_a_command_gets_the_words_after_its_name(command):
    """Fails when the name itself, or an option that the dispatcher knows too, does not reach the
    command as written.
    """
    seen = []
    command(seen.extend)
    assert cli.main(["probe", "dates", "--help", "--version"]) == 0
    assert seen == ["dates", "--help", "--version"]


@pytest.mark.parametrize(
    ("word", "hint"),
    [("trian", "did you mean 'train'?"), ("xyzzy", "there are train, sweep, resume")],
)
def test_an_unknown_command_is_bad_usage(word, hint, capsys):
    """Fails when a slip of the finger gets a traceback, exit code 1, or no idea of what would
    do.
    """
    assert cli.main([word]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"seqgen: error: no command {word!r}; {hint}")


@pytest.mark.parametrize(
    ("error", "code"), [(SeqgenError("no\nroom"), 1), (UsageError("no\nroom"), 2)]
)
def test_a_known_failure_is_one_line(error, code, command, capsys):
    """Fails when a refusal prints a traceback, loses its own exit code, or spills over a second
    line.
    """
    command(fail(error))
    assert cli.main(["probe"]) == code
    assert capsys.readouterr() == ("", "seqgen: error: no room\n")


def test_a_bug_keeps_its_traceback(command):
    """Fails when the dispatcher hides a genuine bug behind one polite line."""
    command(fail(KeyError("bug")))
    with pytest.raises(KeyError, match="bug"):
        cli.main(["probe"])


def test_memory_that_runs_out_is_one_line(command, capsys):
    """Fails when more data than memory holds looks like a bug of ours."""
    command(fail(MemoryError("Unable to allocate 745. GiB")))
    assert cli.main(["probe"]) == 1
    error = "out of memory: Unable to allocate 745. GiB; use less data or a smaller model"
    assert capsys.readouterr() == ("", f"seqgen: error: {error}\n")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"),
            "out of memory: RESOURCE_EXHAUSTED: ",
        ),
        (
            RuntimeError("Unable to initialize backend 'bogus'"),
            "Unable to initialize backend 'bogus'; see `seqgen doctor`",
        ),
    ],
)
def test_what_the_machine_lacks_is_one_line(error, line, command, capsys):
    """Fails when a device that is full, or is not there, looks like a bug of ours."""
    command(fail(error))
    assert cli.main(["probe"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith(f"seqgen: error: {line}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_command_is_imported_is_one_line(number, tmp_path):
    """Fails when a signal in the first second is a traceback out of some library, or nothing."""
    (tmp_path / "slow.py").write_text(f"import os\nos.kill(os.getpid(), {number})\n")
    code = "from seqgen import cli; cli.COMMANDS['slow'] = ('slow', ''); cli.main(['slow'])"
    environment = PLAIN | {"PYTHONPATH": f"{tmp_path}:{os.getcwd()}"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=False
    )
    line = b"seqgen: error: stopped before it began\n"
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, b"", line)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_one_line(number, command, capsys):
    """Fails when a signal is a traceback, says nothing, looks like success to a shell, or goes to
    the handler that was there for the command's import.
    """
    command(lambda words: os.kill(os.getpid(), number))
    assert cli.main(["probe"]) == 128 + number
    assert capsys.readouterr() == ("", "seqgen: error: stopped\n")


def test_output_that_cannot_be_written_is_said():
    """Fails when a full disk at the end of a `>` is a traceback, or looks like success."""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "seqgen"],
            env=PLAIN,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    line = b"seqgen: error: cannot write standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, line)


def test_a_closed_output_is_nowhere(monkeypatch):
    """Fails when `seqgen ... >&- 2>&-` is an error, or what goes to one comes out at the other."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert (cli.main(["--version"]), cli.main(["xyzzy"])) == (0, 2)
    assert sys.stdout.name == sys.stderr.name == os.devnull
    sys.stdout.close()
    sys.stderr.close()


def test_a_narrow_encoding_loses_no_answer(monkeypatch):
    """Fails when a character that the terminal cannot show takes the whole answer with it."""
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", narrow)
    cli.prepare_output()
    print("runs/날", flush=True)
    assert narrow.buffer.getvalue() == b"runs/\\ub0a0\n"


def test_training_goes_on_where_nobody_reads(monkeypatch):
    """Fails when progress that cannot be shown (`2>&1 | head -1`, a full disk) ends a training
    run.
    """

    class Lost(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    silenced = []
    monkeypatch.setattr(terminal, "silence", silenced.append)
    monkeypatch.setattr(sys, "stderr", Lost())
    with terminal.Bar() as shown:
        shown.note("epoch 1")
    assert silenced == [2]


def test_a_closed_pipe_is_quiet():
    """Fails when `seqgen ... | head -1` complains about a broken pipe, at once or when Python shuts
    down.
    """
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "seqgen"],
        env=PLAIN,
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


def test_load_opens_a_run(monkeypatch):
    """Fails when `seqgen.load` opens something else than what it was given."""
    monkeypatch.setattr("seqgen.families.load", lambda *runs: f"opened {' and '.join(runs)}")
    assert seqgen.load("runs/x") == "opened runs/x"
    assert seqgen.load("runs/x", "y") == "opened runs/x and y"


# The compilation cache

USE_CACHE = "import os; from seqgen.cli import use_compilation_cache; use_compilation_cache();"
COMPILE = "import jax; jax.jit(lambda x: x * 3 + 1)(2);"
REPORT = "print(os.environ.get('JAX_COMPILATION_CACHE_DIR'))"


def test_the_cache_is_filled_and_private(tmp_path):
    """Fails when jax does not take up the folder, skips quick compilations, or others may write
    there.
    """
    assert (
        python(USE_CACHE + COMPILE + REPORT, XDG_CACHE_HOME=str(tmp_path)) == f"{tmp_path}/seqgen\n"
    )
    assert (tmp_path / "seqgen").stat().st_mode & 0o777 == 0o700
    assert any("jit__lambda" in file.name for file in (tmp_path / "seqgen").iterdir())


def test_the_cache_stands_in_the_home(tmp_path):
    """Fails when a user without `XDG_CACHE_HOME` gets no cache, or one somewhere else."""
    out = python(USE_CACHE + REPORT, HOME=str(tmp_path), XDG_CACHE_HOME="")
    assert out == f"{tmp_path}/.cache/seqgen\n"


@pytest.mark.parametrize("own", ["", "elsewhere"])
def test_a_user_s_own_cache_wins(own, tmp_path):
    """Fails when a cache that the user chose, or turned off, is replaced by ours."""
    out = python(USE_CACHE + REPORT, XDG_CACHE_HOME=str(tmp_path), JAX_COMPILATION_CACHE_DIR=own)
    assert (out, list(tmp_path.iterdir())) == (f"{own}\n", [])


def test_an_impossible_cache_is_done_without(tmp_path):
    """Fails when a command stops because its cache folder cannot be made."""
    (tmp_path / "file").touch()
    assert python(USE_CACHE + COMPILE + REPORT, XDG_CACHE_HOME=str(tmp_path / "file")) == "None\n"


# seqgen doctor


def test_the_doctor_reports(capsys):
    """Fails when `seqgen doctor` leaves out a version, the cache, the devices or a variable that
    changes jax.
    """
    assert cli.main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert " ".join(line.split()[0] for line in lines if line[0] != "!") == (
        "python seqgen jax jaxlib optax orbax-checkpoint numpy cores cache devices"
    )
    assert f"{'jax':<18}{jax.__version__}" in lines
    assert f"{'devices':<18}{', '.join(map(str, jax.devices()))}" in lines
    # tests/conftest.py sets it
    assert any(line.startswith("! JAX_PLATFORMS=cpu is set") for line in lines)


def test_the_doctor_counts_compiled_programs(tmp_path, monkeypatch):
    """Fails when corpora and downloads, which are kept beside them, are counted as programs."""
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    (tmp_path / "corpora").mkdir()
    for name in ("jit_run-0-cache", "jit_run-0-atime", "corpora/train.npy"):
        (tmp_path / name).write_bytes(bytes(10**6))
    assert doctor.describe_cache().startswith(f"{tmp_path}: 1 programs, 1.0 MB")


@pytest.mark.parametrize(
    ("trace", "platforms", "expected"),
    [
        ("dev/nvidiactl", {"cpu"}, [CUDA]),
        ("dev/accel0", {"cpu"}, [TPU]),
        ("dev/nvidiactl", {"cpu", "gpu"}, []),
        ("dev/null", {"cpu"}, []),
    ],
)
def test_an_unseen_accelerator_is_found(trace, platforms, expected, tmp_path):
    """Fails when an idle GPU or TPU goes unnoticed, or one that jax uses (or that is not there) is
    reported.
    """
    (tmp_path / trace).parent.mkdir(parents=True)
    (tmp_path / trace).touch()
    assert doctor.unseen(platforms, root=tmp_path) == expected


@pytest.mark.parametrize(
    ("accelerator", "installed", "variables", "remedy"),
    [
        (CUDA, set(), {}, '`make train EXTRA=cuda` in a clone, or `pip install "seqgen[cuda]"`'),
        (TPU, set(), {}, '`make train EXTRA=tpu` in a clone, or `pip install "seqgen[tpu]"`'),
        (CUDA, {"jax-cuda13-plugin"}, {}, "its plugin is installed, but does not start"),
        (CUDA, set(), {"JAX_PLATFORMS": "cpu"}, "JAX_PLATFORMS hides it"),
    ],
)
def test_the_remedy_fits_the_cause(accelerator, installed, variables, remedy, monkeypatch, capsys):
    """Fails when the doctor tells someone to install what is installed, or what a variable would
    still hide.
    """
    monkeypatch.setattr(doctor, "unseen", lambda platforms: [accelerator])
    monkeypatch.setattr(doctor, "version", lambda package: "1.0" if package in installed else None)
    monkeypatch.setattr(os, "environ", variables)
    doctor.report()
    said = f"! There is {accelerator.name} here, but jax does not see it: {remedy}"
    assert said in capsys.readouterr().out


def test_the_doctor_survives_a_broken_jax(monkeypatch, capsys):
    """Fails when the one command that explains a broken installation ends in that installation's
    traceback.
    """
    monkeypatch.setattr(jax, "devices", fail(AssertionError("no backend")))
    doctor.report()
    assert "none (AssertionError: no backend)" in capsys.readouterr().out
