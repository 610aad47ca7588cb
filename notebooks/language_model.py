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
# # How good can a language model be?
#
# On most texts nobody knows. Here the text is drawn from a grammar whose entropy rate is known
# exactly: no model's expected loss is below it, and what a model lacks is a number.

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np

from seqgen import presets, viz
from seqgen.cli.terminal import run_to_end
from seqgen.decoding.logits import GenerationConfig
from seqgen.evaluation.perplexity import token_losses
from seqgen.evaluation.statistics import bootstrap
from seqgen.families import create, is_run, locate, open_text
from seqgen.storage import log
from seqgen.tasks.grammar import LEXICON, Grammar
from seqgen.tasks.synthetic import Synthetic

language = Grammar()
words = language.symbols
text = " ".join(words[i] for i in language.sample(np.random.default_rng(0), 60)[1:])
print(text.replace(" . ", " .\n"))
entropy, _ = language.entropy_bounds()  # both bounds of its entropy rate are one number
print(f"\n{len(words)} words, {entropy:.4f} nats per token")

# %% [markdown]
# ## Train, and watch the gap close

# %%
NAME = "notebook-grammar"
preset = presets.language("grammar", "language-model")
config = replace(
    preset,
    data=Synthetic(language, train=200_000, validation=20_000, test=20_000),
    model=replace(preset.model, hidden=128),
    training=replace(preset.training, epochs=4),
)
if not is_run(locate(NAME)):
    run_to_end(create(config, NAME))
run = open_text(NAME)
viz.perplexity_figure(log.read(run.path), entropy_bound=entropy)

# %% [markdown]
# The model's loss is compared with the grammar's own on the very same tokens: the luck of the draw
# is the same for both.

# %%
tokens = np.asarray(run.tokens("test")).astype(int)
gap = bootstrap(token_losses(run.model, run.params, tokens) - language.losses(tokens))
print(f"{gap.mean:.4f} nats per token above the grammar ({gap.low:.4f} to {gap.high:.4f})")

# %%
assert -0.005 < gap.mean < 0.1

# %% [markdown]
# ## Let it write
#
# A low temperature keeps to what is likeliest, a high one breaks the grammar. How unlikely, the
# grammar itself can say: a text that it cannot write at all has no probability.

# %%
for temperature in (0.3, 1.0, 2.0):
    generation = GenerationConfig(temperature=temperature)
    (texts,) = run.generate(length=24, generation=generation, n=3, seed=1)
    print(f"temperature {temperature}")
    for text in texts:
        try:
            losses = language.losses(np.array([0, *run.tokenizer.encode(text.text)]))
            verdict = f"{losses.mean():.2f} nats per token"
        except ValueError as error:
            verdict = str(error)
        print(f"  {text.text}   [{verdict}]")

# %% [markdown]
# ## Look inside
#
# "The dogs that the girl sees ..." must go on with a plural. The unit of the hidden state that best
# tells which number the subject had, right before the verb, is found on random sentences; then it
# is watched through two that differ in one letter.

# %%
pairs = [
    (f"the {noun}{s} {between} the {other}", number)
    for noun in ("dog", "cat", "girl", "boy", "bird", "horse", "farmer")
    for s, number in (("", 0), ("s", 1))
    for between in ("near", "behind", "with")
    for other in ("dog", "cats", "farmers", "bird")
]
ends = np.stack([run.states(text)[-1] for text, _ in pairs])
plural = np.array([number for _, number in pairs])
apart = abs(ends[plural == 1].mean(0) - ends[plural == 0].mean(0)) / ends.std(0)
unit = int(apart.argmax())
print(f"unit {unit}: means {apart[unit]:.2f} standard deviations apart")

# %%
fig, ax = plt.subplots(figsize=(8, 3))
for sentence in ("the dog near the cats", "the dogs near the cats"):
    ax.plot(run.states(sentence)[:, unit], marker="o", label=sentence)
ax.set_xticks(range(5), ["the", "dog / dogs", "near", "the", "cats"])
ax.set_ylabel(f"unit {unit}")
ax.legend()

# %% [markdown]
# And what the model makes of it: the probability that a plural verb comes next, though "cats"
# stands right before it.

# %%
verbs = {
    n: [run.tokenizer.ids[word] for kind in "ITK" for word in LEXICON[f"{kind}{n}"].split()]
    for n in (1, 2)
}
for sentence in ("the dog near the cats", "the dogs near the cats"):
    p = np.exp(run.next_logprobs(sentence))
    print(f"{sentence}: singular {p[verbs[1]].sum():.3f}, plural {p[verbs[2]].sum():.3f}")
