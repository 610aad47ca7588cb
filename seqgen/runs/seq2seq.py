"""The run of a model that answers questions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from seqgen import evaluation
from seqgen.config import CONVERTER, RunConfig, checked_seed, structure
from seqgen.decoding import beam, generate, length_penalty
from seqgen.errors import SeqgenError, UsageError
from seqgen.rules import GREEDY, Decoding
from seqgen.runs.directory import Run
from seqgen.tasks.dataset import Data, Dataset, checksum, load
from seqgen.tasks.task import Layout, Pair, Split, encode, encode_questions, reading_order, render
from seqgen.tasks.vocabulary import DELIMITER, Vocabulary
from seqgen.types import Batch, Config, Params


class Attended(NamedTuple):
    """What a model looked at: one row for each character of its answer, in reading order of the question."""

    question: str
    answer: str
    weights: Float[np.ndarray, "K T S"]


class Seq2seqRun(Run):
    """Predicts, shows its attention, and is scored by exact match."""

    load = staticmethod(load)

    @staticmethod
    def called(config: RunConfig) -> str:
        """dates-attention and the like."""
        data, model = config.data, config.model
        readers = {*model.decoder.inputs, *model.decoder.outputs}
        parts = ["peeky"] * ("summary" in readers) + ["attention"] * bool(readers - {"summary"})
        return "-".join([data.task.name, *(parts or ["baseline"])])

    @staticmethod
    def complete(config: RunConfig, load: Callable[[Data], Dataset]) -> tuple[RunConfig, Dataset]:
        """With the file's checksum, and the vocabulary's size. Raises `UsageError` for fewer examples than a batch has."""
        data, model = config.data, config.model
        if data.file is not None:
            file = str(Path(data.file).absolute())
            data = replace(data, file=file, sha256=checksum(file))
        dataset = load(data)
        vocabulary = dataset.vocabulary
        model = replace(model, vocabulary=len(vocabulary), delimiter=vocabulary.ids[DELIMITER])
        if len(dataset.splits.train) < config.training.batch:
            raise UsageError(f"--batch {config.training.batch} is more than the {len(dataset.splits.train)} training examples")
        return replace(config, data=data, model=model), dataset

    def described(self) -> dict[str, Any]:
        """Characters and layout."""
        return CONVERTER.unstructure(_Text(self.dataset.vocabulary.characters, self.dataset.layout))

    @cached_property
    def _text(self) -> "_Text":
        return structure(self.path / "vocabulary.json", _Text)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The run's characters in the order of their ids. Raises `SeqgenError` where they cannot be those of its model."""
        characters, model = self._text.characters, self.config.model
        if not len(characters) == len({*characters}) == model.vocabulary or characters.find(DELIMITER) != model.delimiter:
            raise SeqgenError(f"{self.path / 'vocabulary.json'}: {characters!r} is not what the model was made for")
        return Vocabulary(characters)

    @property
    def layout(self) -> Layout:
        """How the run turns text into rows of ids."""
        return self._text.layout

    @property
    def held_out(self) -> Split:
        """What the run is watched on."""
        return self.dataset.splits.held_out

    @property
    def tested_on(self) -> Split:
        """What the run is scored on at its end."""
        return "test"

    @property
    def attends(self) -> bool:
        """Whether the model has attention to show."""
        decoder = self.config.model.decoder
        return bool({*decoder.inputs, *decoder.outputs} - {"summary"})

    def pairs(self, split: Split) -> list[Pair]:
        """The questions and answers of a split. Raises `UsageError` where the run has none."""
        pairs = getattr(self.dataset.splits, split)
        if not pairs:
            raise UsageError(f"{self.path} has no {split} split: its data are split as the book does, into train and test")
        return pairs

    def batch(self, split: Split) -> Batch:
        """A split as arrays."""
        return encode(self.pairs(split), self.vocabulary, self.layout)

    def decode(
        self, questions: Sequence[str], how: Decoding = GREEDY, seed: int = 0
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Answers [N, W, T], their log p [N, W] and what was attended to, as one batch, filled up to a power of two.

        W is the width of the beam, or 1. Raises `UsageError` where the rules leave no token.
        """
        rows = len(questions)
        filled = [*questions, *[questions[0]] * ((1 << (rows - 1).bit_length()) - rows)]
        source, length = encode_questions(filled, self.vocabulary, self.layout)
        end = evaluation.end_symbol(self.config.model, self.layout)
        limit = self.layout.answer_width + (end is not None)
        key = jax.random.key(checked_seed(seed)) if how.draws else None
        made = decode(self.model, self.config.model, limit, end, how, self.params, source, length, key)
        tokens, logprob, aux = jax.tree.map(lambda leaf: np.asarray(leaf)[:rows], made)
        for row in np.flatnonzero(logprob[:, 0] == -np.inf)[:1]:
            raise UsageError(f"{questions[row]!r}: nothing is left to answer, the rules take every token")
        return tokens, logprob, aux

    def predict(self, questions: Sequence[str], how: Decoding = GREEDY, *, seed: int = 0) -> list[str]:
        """An answer for each question. Raises `UsageError`, naming the character, for what the run cannot read."""
        return [answers[0] for answers in self.best(questions, how, seed=seed)]

    def best(self, questions: Sequence[str], how: Decoding = GREEDY, *, seed: int = 0, n: int = 1) -> list[list[str]]:
        """The `n` best answers of a beam for each question, or, without one, the only answer."""
        if isinstance(questions, str):
            raise UsageError("predict takes a list of questions: [question]")
        if n > (how.beam or 1):
            raise UsageError(f"there is one answer, and {n} were asked for: --beam {n} would do")
        block = evaluation.block_rows(max([self.layout.question_width, *map(len, questions)]))
        blocks = [questions[i : i + block] for i in range(0, len(questions), block)]
        return [
            [render(row[row >= 0], self.vocabulary, self.layout) for row in answers[:n]]
            for rows in blocks
            for answers in self.decode(rows, how, seed)[0]
        ]

    def attention(self, question: str) -> Attended:
        """Where each character of the answer looked. Raises `UsageError` for a model without attention."""
        if not self.attends:
            raise UsageError(f"{self.path} has no attention to show: none of its decoder's readers attends")
        tokens, _, aux = self.decode([question])
        source, length = encode_questions([question], self.vocabulary, self.layout)
        answer = render(tokens[0, 0], self.vocabulary, self.layout)
        weights = reading_order(aux["attention"][0, 0], np.int32(source.shape[1]) if length is None else length[0], self.layout)
        return Attended(question, answer, weights.swapaxes(0, 1)[:, : len(answer), : len(question)])

    def evaluate(self, split: Split = "test") -> evaluation.Scores:
        """Exact match, token accuracy and loss on a split."""
        batch = self.batch(split)
        return evaluation.evaluate(self.model, self.config.model, self.params, batch, self.vocabulary, self.layout)[0]

    def measured(self, scores: evaluation.Scores) -> dict[str, Any]:
        """Scores by name."""
        return scores._asdict()


@dataclass(frozen=True)
class _Text:
    """What vocabulary.json holds."""

    characters: str
    layout: Layout


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def decode(
    model: ModuleType,
    cfg: Config,
    limit: int,
    end: int | None,
    how: Decoding,
    params: Params,
    source: Any,
    length: Any,
    key: Any,
) -> Any:
    """Tokens [B, W, T], log p [B, W] and aux [B, W, T, ...], as one program. All rows are drawn from the same numbers."""
    step, start, rules = partial(model.step, cfg, params), model.start(cfg, params, source, length), how.rules(end=end)
    if how.beam is not None:
        score = length_penalty(how.length_penalty)
        made = beam(step, start, limit=limit, end=end, width=how.beam, score=score, rules=rules)
        return made.tokens, made.logprob, made.aux
    keys = None if key is None else jnp.broadcast_to(key, source.shape[0])
    one = generate(step, start, limit=limit, end=end, rules=rules, keys=keys)
    return jax.tree.map(lambda leaf: leaf[:, None], (one.tokens, one.logprob, one.aux))
