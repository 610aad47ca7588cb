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
# # Where does it look?
#
# A model with attention reads a date as people write it and writes it as ISO 8601. Each row of a
# map is one character of its answer; bright is where it looked in the question. The frames are
# where the task says that the character comes from.

# %%
from seqgen import presets, viz
from seqgen.cli.terminal import run_to_end
from seqgen.families import create, is_run, locate, open_run
from seqgen.families.pairs import maps
from seqgen.sweeps.spec import override

config = override(presets.preset("dates", "attention"), {"epochs": 3})


def trained(config, name):
    """The run of this name, trained if it is not."""
    run = open_run(name) if is_run(locate(name)) else create(config, name)
    run_to_end(run)
    return run


run = trained(config, "notebook-dates-attention")  # ten seconds on 2 cores, once

# %% [markdown]
# Type a date: any day, in one of the four formats.

# %%
question, task = "TUESDAY, SEPTEMBER 25, 1984", run.dataset.task
seen = run.attention(question)
print(seen.answer)
viz.attention_figure(maps([seen], task=task))

# %% [markdown]
# All four formats, of days that stand in no training row.

# %%
asked = {task.format(question): question for question, _ in run.pairs("test")[:200]}
viz.attention_figure(maps(run.attention(list(asked.values())), task=task))

# %% [markdown]
# ## Model by model
#
# The same model, but for one thing: it reads the question as it stands, and not reversed. Where
# does it look for the same character? A recurrent state knows what was read before it, so reading
# the other way moves what a state stands for.

# %%
other = trained(override(config, {"reverse": False}), "notebook-dates-attention-as-it-is")
both = {"reversed": run, "as it is": other}
drawn = [
    one_map._replace(title=name)
    for name, one in both.items()
    for one_map in maps([one.attention(question)], task=task)
]
viz.attention_figure(drawn)

# %% [markdown]
# ## Epoch by epoch
#
# Every epoch's weights are kept. One question, asked after each of them:

# %%
from seqgen.storage import checkpoint

question = "sep 25, 1984"
epochs = [run.at(step) for step in checkpoint.steps(run.path, "params")]
drawn = [
    one_map._replace(title=f"epoch {n}")
    for n, epoch in enumerate(epochs, start=1)
    for one_map in maps([epoch.attention(question)])
]
viz.attention_figure(drawn)

# %% [markdown]
# ## In numbers
#
# Over the whole test set: the weight on the right place (`mass`), that of attention that knows
# nothing in brackets, and how often the largest weight is there (`hit`), or within one character of
# it (`near`).

# %%
from seqgen.evaluation import alignment

batch = run.batch("test")
weights = alignment.forced_attention(run.model, run.params, batch, run.padding)
gold = alignment.gold_of(task, run.pairs("test"), run.padding, weights.shape[1:])
scores, chance = alignment.scores(weights, gold), alignment.scores(alignment.uniform(gold), gold)
for name, score in scores.items():
    mass = f"mass {score.mass:.3f} ({chance[name].mass:.3f})"
    print(f"{name:14} {mass}  hit {score.hit:.3f}  near {score.near:.3f}")

# %%
assert run.evaluate().exact_match > 0.99
assert scores["all"].mass > 4 * chance["all"].mass
