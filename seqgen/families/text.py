"""Text: how language models are trained, scored and drawn."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from seqgen.config import RunConfig
from seqgen.data.archive import File
from seqgen.data.pairs import Split
from seqgen.data.token_store import Corpus
from seqgen.decoding.logits import GenerationConfig
from seqgen.errors import UsageError
from seqgen.evaluation.outcomes import Outcomes, Statistic
from seqgen.evaluation.perplexity import (
    Perplexity,
    exponential,
    perplexities,
    perplexity,
    token_losses,
)
from seqgen.evaluation.statistics import BLOCK
from seqgen.families.family import Family, Metric, check_selection, refuse_metrics
from seqgen.families.program import build_program
from seqgen.families.text_run import TextRun
from seqgen.models import build
from seqgen.storage import log
from seqgen.tasks.corpus import load
from seqgen.tasks.synthetic import LANGUAGES, Language, Synthetic
from seqgen.tasks.text import Text, files_of, parts_of
from seqgen.training.batches import Windows
from seqgen.training.steps import Program
from seqgen.types import Params

LANES = 20
"""Lanes in which a split is read while a model trains: an estimate, each begins in the
initial state.
"""

NAMES = 5
"""Files of a split that are named."""

SAMPLES, WORDS, CHARACTERS = 3, 40, 200
"""Texts that an evaluation shows, and how long they are."""


def unused(config: RunConfig) -> dict[str, str]:
    """Fields of pairs, and of symbols, which bytes are not."""
    reasons = {"training.batch_tokens": "it is of pairs; of a text, batch and window say it"}
    if isinstance(config.data, Text) and config.data.unit == "byte":
        reasons |= dict.fromkeys(("data.min_count", "data.most"), "bytes are all kept")
    return reasons


def check(config: RunConfig, corpus: Corpus) -> None:
    """Raises `UsageError` for less text than a step reads, or none to evaluate on."""
    training, name = config.training, config.data.name
    if epoch_steps(config, corpus) < 1:
        raise UsageError(
            f"{name}: {len(corpus.train):,} tokens are too few for {training.batch} lanes of "
            f"{training.window}; use a smaller batch or window",
            fields=("training.batch", "training.window"),
        )
    if max(len(corpus.validation), len(corpus.test)) < 2:
        raise UsageError(
            f"{name}: the validation and test splits are empty; use a larger validation",
            fields=("data.validation",),
        )
    check_selection(training, "validation" if len(corpus.validation) > 1 else "test")


def epoch_steps(config: RunConfig, corpus: Corpus) -> int:
    """Steps per epoch."""
    return Windows(corpus.train, config.training.batch, config.training.window).steps


def program(config: RunConfig, corpus: Corpus) -> Program:
    """What trains on windows of the training split, which may be larger than memory."""
    training = config.training
    return build_program(
        config,
        build(config.model, corpus.sizes),
        Windows(corpus.train, training.batch, training.window),
        evaluate=None,  # members of a sweep train one after another
        size=training.batch * training.window,
        unit="tokens",
    )


def evaluate_epoch(run: TextRun, split: Split, params: Params, step: int) -> tuple[log.Event, str]:
    """An estimate of the perplexity, on several lanes, and some texts.

    Args:
        run: the run.
        split: which tokens.
        params: the weights.
        step: the seed of the texts.

    """
    losses = token_losses(run.model, params, run.tokens(split), lanes=LANES)
    loss = float(np.mean(losses, dtype=np.float64))
    scores = {"loss": loss, "perplexity": exponential(loss), "tokens": len(losses)}
    return {**scores, "lanes": LANES}, samples(run, params, step)


def test(run: TextRun, split: Split, params: Params, step: int) -> tuple[log.Event, str]:
    """The perplexity, in one lane, and some texts.

    Args:
        run: the run.
        split: which tokens.
        params: the weights.
        step: the seed of the texts.

    """
    scores = perplexity(run.model, params, run.tokens(split))
    return {**scores._asdict(), "lanes": 1}, samples(run, params, step)


def samples(run: TextRun, params: Params, step: int) -> str:
    """Texts as the model writes them now, sampled from its whole distribution."""
    writer = run.having(params)
    length = WORDS if run.tokenizer.unit == "word" else CHARACTERS
    generation = GenerationConfig(temperature=1.0)
    (texts,) = writer.generate(length=length, generation=generation, seed=step, n=SAMPLES)
    return "\n".join(each.text.strip("\n") + "\n" for each in texts)


def splits(config: RunConfig, corpus: Corpus) -> list[str]:
    """How many tokens each split has, and from which files."""
    data = config.data
    unit = {"word": "tokens", "character": "characters", "byte": "bytes"}[corpus.tokenizer.unit]
    parts = parts_of(files_of(data.path)) if isinstance(data, Text) else {}
    lines = []
    for split, place in {
        "train": "the first",
        "validation": "the next",
        "test": "the last",
    }.items():
        size, files = f"{len(getattr(corpus, split)):,} {unit}", parts.get(split)
        if isinstance(data, Synthetic):
            lines.append(f"{split}: {size}, drawn from {data.name}")
        elif files is not None:
            lines.append(f"{split}: {size} of {named(files)}")
        else:
            lines.append(f"{split}: {place} {size} of {named(parts['all'])}")
    return lines


def named(files: list[File]) -> str:
    """The names of files, or of the first ones of many."""
    names = [file.name for file in files[:NAMES]]
    more = len(files) - len(names)
    return ", ".join(names) + (f" and {more:,} more" if more else "")


def words(event: log.Event) -> tuple[str, str]:
    """An evaluation's headline, and all of it."""
    headline = f"perplexity {event['perplexity']:.2f}"
    if event.get("low") is not None:
        headline += f" ({event['low']:.2f} to {event['high']:.2f})"
    estimate = f", estimated on {event['lanes']} lanes" if event["lanes"] > 1 else ""
    loss = f"loss {event['loss']:.4f} nats/token"
    return headline, f"{event['tokens']:,} tokens · {headline}{estimate} · {loss}"


def table(scores: dict[str, Any]) -> dict[str, str]:
    """Scores in words; the interval is a bootstrap's of the perplexity."""
    book, bits = scores["perplexity_book"], scores.get("bits_per_character")
    ends = f"{scores['low']:.2f} to {scores['high']:.2f}" if scores["low"] is not None else None
    return {
        "perplexity": f"{scores['perplexity']:.2f}",
        "95% interval": ends or "too short",
        "as the book does": "too short" if book is None else f"{book:.2f}",
        "loss": f"{scores['loss']:.6f} nats/token",
        **({} if bits is None else {"bits per character": f"{bits:.4f}"}),
        "tokens": f"{scores['tokens']:,}",
    }


def scores_of(run: TextRun, split: Split) -> Perplexity:
    """Perplexity over a whole split in one lane, the carry kept from its first token to its
    last.
    """
    return perplexity(run.model, run.params, run.tokens(split))


def outcomes(run: TextRun, split: Split, metrics: Sequence[str] = ()) -> Outcomes:
    """What each token of a split adds to the loss. Raises `UsageError` for metrics of answers."""
    refuse_metrics(run, metrics)
    tokens = run.tokens(split)
    losses = token_losses(run.model, run.params, tokens).astype(np.float64)
    parts = np.stack([losses, np.ones(len(losses))], axis=1)
    found = {
        "perplexity": Statistic(parts, perplexities, form=".2f"),
        "loss": Statistic(parts, form=".4f"),
    }
    return Outcomes([*pairwise(run.tokenizer.pieces(tokens))], found, BLOCK)


def draw(run: TextRun) -> None:
    """figures/: the learning curve."""
    from seqgen import viz  # matplotlib, when something is drawn

    events = log.read(run.path)
    viz.save_both(run.path / "figures" / "learning", viz.perplexity_figure(events))


FAMILY = Family(
    name="text",
    data={"text": Text, "synthetic": Synthetic},
    unions={Language: LANGUAGES},
    run=TextRun,
    load=load,
    check=check,
    program=program,
    epoch_steps=epoch_steps,
    metrics=(Metric("loss", maximise=False), Metric("perplexity", maximise=False)),
    evaluate=scores_of,
    evaluate_epoch=evaluate_epoch,
    test=test,
    splits=splits,
    words=words,
    table=table,
    draw=draw,
    stacking=None,
    unused=unused,
    outcomes=outcomes,
)
