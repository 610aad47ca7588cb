# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Does reversing the question help?
#
# An ablation is a module with `base()` and `variants()`; `seqgen sweep` trains every variant with
# every seed, those of one shape as one compiled program. Here: sums of two digits, small models,
# four seeds; half a minute on 2 cores.

# %%
import subprocess
import sys
from pathlib import Path

root = Path.cwd() if Path("experiments").is_dir() else Path("..")
small = ["--set", "digits=2", "--set", "draws=4000", "--set", "epochs=12", "--set", "lr=0.005"]
which = ["--only", "baseline", "baseline-reverse", "--seeds", "0:4"]
command = ["sweep", "experiments.addition", *which, *small, "--name", "notebook-addition"]
seqgen = [sys.executable, "-m", "seqgen"]
done = subprocess.run([*seqgen, *command], cwd=root, check=True, capture_output=True, text=True)
folder = root / done.stdout.strip()

# %% [markdown]
# Each member is a run of its own, with its log, its weights and its samples.

# %%
print((folder / "baseline-reverse-0" / "samples" / "test.txt").read_text())

# %% [markdown]
# ## The curves

# %%
import numpy as np

from seqgen import viz
from seqgen.families import open_pairs
from seqgen.storage import log

cells = {
    name: [open_pairs(folder / f"{name}-{seed}") for seed in range(4)]
    for name in ("baseline", "baseline-reverse")
}
curves = {
    name: 100 * np.array([[e["exact_match"] for e in log.epochs(run.path)] for run in runs])
    for name, runs in cells.items()
}
viz.curves_figure([viz.Panel("sums of two digits", curves)], xlabel="epoch")

# %% [markdown]
# ## The claim
#
# Runs of one seed share their order of examples, so the difference is taken pair by pair. With four
# pairs an exact sign-flip test cannot give a p below 2 / 2⁴ = 0.125: more seeds would.

# %%
from seqgen.evaluation.statistics import paired

found = paired(curves["baseline-reverse"][:, -1].tolist(), curves["baseline"][:, -1].tolist())
mean, low, high = found.difference
print(f"{mean:+.1f} points ({low:+.1f} to {high:+.1f}), p = {found.p}")

# %%
assert mean > 0
