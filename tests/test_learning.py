"""Learning claims, at a reduced budget: what a whole program of right parts and a wrong connection
would miss.
"""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow


def train(folder, *words: str) -> dict:
    """A run from the command line; what `seqgen evaluate --json` says of its test set."""
    environment = {**os.environ, "XLA_FLAGS": ""}  # compiled as for users
    run = str(folder / "run")
    subprocess.run(
        [sys.executable, "-m", "seqgen", "train", *words, "--name", run],
        check=True,
        env=environment,
    )
    command = [sys.executable, "-m", "seqgen", "evaluate", run, "--json"]
    options = {"check": True, "env": environment, "capture_output": True, "text": True}
    return json.loads(subprocess.run(command, **options).stdout)


def test_the_default_run_learns_dates(tmp_path):
    """Fails when `make train` falls below 99.9 % exact match on days that it never saw: any wrong
    link in the chain.
    """
    scores = train(tmp_path, "dates", "attention")
    assert scores["examples"] == 4218
    assert scores["exact_match"] >= 0.999


def test_peeky_and_reverse_learn_addition(tmp_path):
    """Fails when the context enters at the wrong place, or reversal meets the wrong end: without
    reversal 5 epochs give 32 %, without peeking, too, 12 %, and with both 90 %.
    """
    scores = train(tmp_path, "addition", "peeky", "--epochs", "5")
    assert scores["exact_match"] >= 0.7
