"""What a refusal advises is tried: the command that fails, and the one that it says would do."""

import pickle
import shlex
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqgen.cli import main, train
from seqgen.interop.book import from_params
from seqgen.tasks.addition import Addition
from seqgen.tasks.dataset import Data, prepare
from tests import book_language, oracles
from tests.conftest import TINY

FILE = f"train addition attention {shlex.join(TINY)}"
PAIRS = f"{FILE} --task.digits 2 --draws 500"
TEXT = "train text rnnlm --model.hidden 12 --model.embedding 7"
BOOK = f"{FILE} --data book.txt --padding book --batch 32"
WRITE = "generate {text} --prompt the --length 3"


class Case(NamedTuple):
    """A command that is refused, what is said of it, and commands that do what that says."""

    fails: str
    said: str
    instead: tuple[str, ...]


CASES = {
    "few rows": Case(f"{PAIRS} --batch 500", "a --batch of 500 is more", (f"{PAIRS} --batch 9",)),
    "few tokens": Case(
        f"{TEXT} --data t.txt --batch 400",
        "use a smaller --batch or --window",
        (f"{TEXT} --data t.txt --batch 4", f"{TEXT} --data t.txt --batch 400 --window 2"),
    ),
    "no split": Case(
        f"{TEXT} --data t.txt --validation 0 --test 0",
        "use a larger --validation",
        (f"{TEXT} --data t.txt --validation 0.2 --test 0",),
    ),
    "not UTF-8": Case(
        f"{TEXT} --data latin.txt",
        'use the --unit "byte"',
        (f"{TEXT} --data latin.txt --unit byte",),
    ),
    "rare words": Case(
        f"{TEXT} --data t.txt --unit word --min-count 9999",
        "use a --min-count below 9999",
        (f"{TEXT} --data t.txt --unit word --min-count 99",),
    ),
    "best of a test": Case(
        f"{BOOK} --select best",
        "set some aside with --validation, or use --select last",
        (f"{BOOK} --select best --validation 40", f"{BOOK} --select last"),
    ),
    "early by a test": Case(
        f"{BOOK} --select loss --patience 3",
        "with --validation, or use --select last and --patience None",
        (f"{BOOK} --select loss --patience 3 --validation 40", f"{BOOK} --select last"),
    ),
    "nothing to wait for": Case(
        f"{PAIRS} --patience 3",
        "use --select best, or the name of a score",
        (f"{PAIRS} --patience 3 --select best", f"{PAIRS} --patience 3 --select token_accuracy"),
    ),
    "rate by a test": Case(
        f"{BOOK} --plateau 4 --select best",
        "with --validation, or use --select last and --plateau None",
        (f"{BOOK} --plateau 4 --validation 40", f"{BOOK} --plateau None --select last"),
    ),
    "a recipe without validation": Case(
        "train text better-rnnlm --data t.txt --validation 0 --batch 2",
        "or use --select last and --plateau None",
        (
            "train text better-rnnlm --data t.txt --validation 0 --batch 2 --select last "
            "--plateau None",
            "train text better-rnnlm --data t.txt --validation 0.1 --batch 2",
        ),
    ),
    "parts of a batch": Case(
        f"{PAIRS} --batch 32 --accumulate 3",
        "a --batch of 32 cannot be split evenly over 1 devices in 3 parts",
        (f"{PAIRS} --batch 33 --accumulate 3",),
    ),
    "parts of a window": Case(
        f"{TEXT} --data t.txt --remat 4",
        "a --window of 35 cannot be split evenly into parts of 4 (--remat)",
        (f"{TEXT} --data t.txt --window 36 --remat 4", f"{TEXT} --data t.txt --remat 5"),
    ),
    "too many steps": Case(
        f"{PAIRS} --batch 32 --epochs 2000000000",
        "use fewer --epochs",
        (f"{PAIRS} --batch 32 --epochs 20000000",),
    ),
    "no such text": Case(
        "train ptb rnnlm",
        "there is no data/ptb/ptb.zip here: in a clone of seqgen's repository "
        "`python data/ptb/prepare.py` gets it; elsewhere use a copy of yours (--data)",
        ("train ptb rnnlm --data t.txt",),
    ),
    "two LSTMs": Case(
        f"{PAIRS} --model.initial-state h+c --model.encoder.cell gru",
        "use 'h'",
        (f"{PAIRS} --model.initial-state h --model.encoder.cell gru",),
    ),
    "one width": Case(
        f"{PAIRS} --model.encoder.hidden 9",
        "use 'general'",
        (f"{PAIRS} --model.encoder.hidden 9 --model.decoder.outputs general",),
    ),
    "a name that is taken": Case(
        f"{PAIRS} --name taken", "use another --name", (f"{PAIRS} --name another",)
    ),
    "one greedy text": Case(
        f"{WRITE} --n 2",
        "use a --temperature or a --beam",
        (f"{WRITE} --n 2 --temperature 1", f"{WRITE} --n 2 --beam 2"),
    ),
    "a narrow beam": Case(
        f"{WRITE} --n 3 --beam 2", "use a wider --beam", (f"{WRITE} --n 3 --beam 3",)
    ),
    "an end put off": Case(
        f"{WRITE} --min-length 2", "give an --end", (f"{WRITE} --min-length 2 --end <eos>",)
    ),
    "a comma": Case(
        f"{WRITE} --ban ,", """banned as '[",\"]'""", (f"""{WRITE} --ban '["the"]'""",)
    ),
    "one answer": Case(
        "predict {pairs} 1+1 --n 2", "use a --beam of 2", ("predict {pairs} 1+1 --n 2 --beam 2",)
    ),
    "no such split": Case(
        "evaluate {book} --split validation",
        "into train and test",
        ("evaluate {book} --split test",),
    ),
    "a beam samples nothing": Case(
        "predict {pairs} 1+1 --beam 2 --temperature 1",
        "leave out --temperature, --top-k, --top-p and --min-p, or the --beam",
        ("predict {pairs} 1+1 --beam 2", "predict {pairs} 1+1 --temperature 1"),
    ),
    "another model's weights": Case(
        "import-book rows.pkl --model peeky --data few.txt --run one",
        "these are weights of baseline, not peeky",
        ("import-book rows.pkl --model baseline --data few.txt --run two",),
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, attention_run, book_run):
    """Files, a tiny language model, and a `train` that makes directories and trains nothing."""
    place = tmp_path_factory.mktemp("advice")
    (place / "t.txt").write_text("the cat sat on -x the mat\n" * 100)
    (place / "latin.txt").write_bytes("caf\xe9 ".encode("latin-1") * 500)
    prepare(Data(Addition(2), draws=400), place / "book.txt")
    lines = (place / "book.txt").read_text().splitlines(keepends=True)
    (place / "few.txt").write_text("".join(lines[:55]))
    cfg = oracles.book_config("baseline", embedding=7, hidden=12)
    arrays = book_language.draw("rnnlm", 7, 7, 12, np.random.RandomState(3))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(train, "run_to_end", lambda run, **_: None)
        params = jax.tree.map(jnp.asarray, oracles.live_params(cfg))
        Path("few.pkl").write_bytes(pickle.dumps(from_params(cfg, params)))
        Path("words.pkl").write_bytes(pickle.dumps([np.float16(array) for array in arrays]))
        for words in (
            "import-book few.pkl --model baseline --data few.txt --run few",
            "export-book few rows.pkl",
            "import-book words.pkl --model rnnlm --data t.txt --run text",
            f"{PAIRS} --name taken",
        ):
            assert main(shlex.split(words)) == 0, words
        yield {"text": "text", "pairs": attention_run, "book": book_run}


@pytest.mark.parametrize("name", CASES)
def test_advice_can_be_followed(name, folder, capsys):
    """Fails when a message names an option that the command does not have, a value that it does not
    take, or a file that cannot be got; and, the fixture, when `import-book` wants a smaller batch,
    which it cannot be given.
    """
    case = CASES[name]
    with suppress(SystemExit):  # tyro's
        assert main(shlex.split(case.fails.format(**folder))) in (1, 2)
    assert case.said in " ".join(capsys.readouterr().err.split())
    for words in case.instead:
        assert main(shlex.split(words.format(**folder))) == 0, capsys.readouterr().err


@pytest.mark.parametrize(
    "words", ["--prompt -x", "--prompt cat --end -x", "--prompt on --ban -x,cat"]
)
def test_what_begins_with_a_dash_is_text(words, folder, capsys):
    """Fails when a value that looks like an option is one that is missing."""
    assert main(["generate", "text", *shlex.split(words), "--length", "2"]) == 0
    assert capsys.readouterr().out.startswith(words.split()[1])
