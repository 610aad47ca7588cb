"""The run of a model that answers questions."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, overload

import jax
import numpy as np

from seqgen.data.padding import Padding, encode, encode_questions, prefix_ids, render
from seqgen.data.pair_tokenizer import PairTokenizer
from seqgen.data.pairs import Pair, Split
from seqgen.data.tokenizer import Vocabulary
from seqgen.decoding.compiled import Answers, answer
from seqgen.decoding.logits import GREEDY, GenerationConfig
from seqgen.errors import UsageError
from seqgen.evaluation.answers import block_rows
from seqgen.evaluation.scores import Scores
from seqgen.families.answer import Asked, asked, attention_of, check_copies, replaced, unknown_in
from seqgen.families.pair_tokens import Tokens, migrated, unstructured
from seqgen.families.run import Run, check_attends, check_end, sampling_key
from seqgen.interop.attention import Attention
from seqgen.nn.switches import fixed, key
from seqgen.tasks.dataset import sizes_of
from seqgen.types import Batch, Sizes

LOST = float("-inf")
"""log p of an answer that a beam did not find."""


class PairsRun(Run):
    """Predicts, shows its attention, and is scored by exact match."""

    def described(self) -> dict[str, Any]:
        """Tokens and padding."""
        made = self.dataset
        return unstructured(Tokens(made.tokenizer, made.padding, made.source_tokenizer))

    @cached_property
    def tokens(self) -> Tokens:
        """What vocabulary.json says. Raises `SeqgenError` where that cannot be."""
        return self.stored(Tokens, migrated)

    def meaning(self) -> dict[str, Any]:
        """What its ids stand for, as JSON has it: the tokens in order, and the padding."""
        return unstructured(self.tokens)

    @property
    def tokenizer(self) -> Vocabulary | PairTokenizer:
        """What the ids of answers stand for."""
        return self.tokens.tokenizer

    @property
    def source_tokenizer(self) -> Vocabulary | PairTokenizer:
        """What the ids of questions stand for."""
        return self.tokens.source

    @property
    def padding(self) -> Padding:
        """How the run turns text into rows of ids."""
        return self.tokens.padding

    @property
    def sizes(self) -> Sizes:
        """What its tokens tell a model."""
        return sizes_of(self.tokenizer, self.tokens.source_tokenizer)

    @property
    def evaluation_split(self) -> Split:
        """The split that is evaluated during training."""
        return self.dataset.splits.evaluation_split

    @property
    def test_split(self) -> Split:
        """The split that is evaluated at its end."""
        return "test"

    @cached_property
    @fixed()
    def attends(self) -> bool:
        """Whether the model has attention to show."""
        source = np.zeros((1, self.padding.question_width), np.int32)
        one, every = np.zeros((1, 1), np.int32), np.ones((1, 1), bool)
        batch = Batch(source, None, one, one, every)

        def applied(key: Any, batch: Batch) -> Any:
            params = self.model.init(key)
            return self.model.apply(params, batch, self.model.initial_state(params, 1), None)[1]

        return "attention" in jax.eval_shape(applied, key(0), batch).aux

    def pairs(self, split: Split) -> list[Pair]:
        """The questions and answers of a split. Raises `UsageError` where the run has none, or no
        text of them.
        """
        pairs = getattr(self.dataset.splits, split)
        if not pairs:
            raise UsageError(
                f"{self.name} has no {split} split: "
                "its data are split as the book does, into train and test"
            )
        return list(pairs)

    def batch(self, split: Split) -> Batch:
        """A split as arrays. Raises as `pairs`."""
        source = self.tokens.source_tokenizer
        return encode(self.pairs(split), self.tokenizer, self.padding, source_tokenizer=source)

    def decode(
        self,
        questions: Sequence[str],
        generation: GenerationConfig = GREEDY,
        seed: int = 0,
        *,
        prefix: str | None = None,
    ) -> Answers:
        """Answers as arrays, in one batch, which is filled up to a power of two.

        Args:
            questions: a list of texts.
            generation: how answers are chosen.
            seed: of the sampling.
            prefix: what all answers begin with; None: they are free.

        Raises:
            UsageError: for what the run cannot read, and where the processors leave no token.

        """
        rows = len(questions)
        filled = [*questions, *[questions[0]] * ((1 << (rows - 1).bit_length()) - rows)]
        source, length = encode_questions(filled, self.source_tokenizer, self.padding)
        end = self.padding.end(self.tokenizer.special)
        limit = self.padding.answer_width + (end is not None)
        check_end(generation, end, limit, "the book's padding scheme has none")
        if generation.coverage_penalty:
            check_attends(generation, self.attends)
        sampling = sampling_key(generation, seed)
        given = (
            prefix_ids(prefix, self.tokenizer, self.padding, limit) if prefix is not None else None
        )
        inputs = self.params, source, length, sampling, given
        made = answer(self.model, generation, limit, end, *inputs)
        made = jax.tree.map(lambda leaf: np.asarray(leaf)[:rows], made)
        for row in np.flatnonzero(made.logprob[:, 0] == -np.inf)[:1]:
            raise UsageError(
                f"{questions[row]!r}: nothing is left to answer, "
                "the logits processors take every token"
            )
        return made

    def asked(
        self,
        questions: Sequence[str],
        generation: GenerationConfig = GREEDY,
        *,
        seed: int = 0,
        prefix: str | None = None,
    ) -> Iterator[Asked]:
        """All that the run says of each question. Raises as `decode`.

        Args:
            questions: a list of texts.
            generation: how answers are chosen.
            seed: of the sampling.
            prefix: what all answers begin with; None: they are free.

        """
        for rows in self.blocks(questions):
            yield from asked(rows, self.decode(rows, generation, seed, prefix=prefix), self.tokens)

    def predict(
        self, questions: Sequence[str], generation: GenerationConfig = GREEDY, *, seed: int = 0
    ) -> list[str]:
        """An answer for each question. Raises `UsageError` for what the run cannot read."""
        return [answers[0] for answers in self.best(questions, generation, seed=seed)]

    def best(
        self,
        questions: Sequence[str],
        generation: GenerationConfig = GREEDY,
        *,
        seed: int = 0,
        n: int = 1,
        prefix: str | None = None,
        replace_unknown: bool = False,
    ) -> list[list[str]]:
        """The `n` best answers of a beam for each question, or, without one, the only answer.

        Args:
            questions: a list of texts.
            generation: how answers are chosen.
            seed: of the sampling.
            n: how many answers.
            prefix: what all answers begin with; None: they are free.
            replace_unknown: each <unk> of an answer is the source piece with most attention there.

        Raises:
            UsageError: for what the run cannot read, for no answers, for more than there are, and
                for unknown pieces that cannot be replaced.

        """
        if isinstance(questions, str):
            raise UsageError("predict takes a list of questions: [question]")
        self.check_best(generation, n=n, replace_unknown=replace_unknown)
        if replace_unknown:
            found = self.asked(questions, generation, seed=seed, prefix=prefix)
            return [
                [replaced(each, one, self.tokens) for one in each.answers[:n] if one.logprob > LOST]
                for each in found
            ]
        return [
            [self.text(row) for row, p in zip(answers[:n], logprob, strict=False) if p > LOST]
            for rows in self.blocks(questions)
            for made in [self.decode(rows, generation, seed, prefix=prefix)]
            for answers, logprob in zip(made.tokens, made.logprob, strict=True)
        ]

    def blocks(self, questions: Sequence[str]) -> list[Sequence[str]]:
        """Questions in parts that are decoded together."""
        block = block_rows(max([self.padding.question_width, *map(len, questions)]))
        return [questions[i : i + block] for i in range(0, len(questions), block)]

    def text(self, row: np.ndarray) -> str:
        """The text of an answer's ids."""
        return render(row[row >= 0], self.tokenizer, self.padding)

    @overload
    def attention(self, questions: str) -> Attention: ...

    @overload
    def attention(
        self,
        questions: Sequence[str],
        generation: GenerationConfig = GREEDY,
        *,
        hypothesis: int = 0,
        seed: int = 0,
    ) -> list[Attention]: ...

    def attention(
        self,
        questions: str | Sequence[str],
        generation: GenerationConfig = GREEDY,
        *,
        hypothesis: int = 0,
        seed: int = 0,
    ) -> Attention | list[Attention]:
        """Where each token of each answer looked; for one question alone, its map alone.

        Args:
            questions: one text, or several.
            generation: how answers are chosen.
            hypothesis: which of a beam's answers, 0 the best.
            seed: of the sampling.

        Raises:
            UsageError: for a model without attention, for a hypothesis that there is none of, and
                for what the run cannot read.

        """
        self.check_attends()
        if not 0 <= hypothesis < (generation.beam or 1):
            raise UsageError(
                f"there is no hypothesis {hypothesis}: "
                f"there are {generation.beam or 1}, counted from 0",
                fields=("hypothesis",),
            )
        if isinstance(questions, str):
            return self.attention([questions], generation, hypothesis=hypothesis, seed=seed)[0]
        return [
            attention_of(each, each.answers[hypothesis], self.tokens)
            for each in self.asked(questions, generation, seed=seed)
        ]

    def check_attends(self) -> None:
        """Raises `UsageError` for a model without attention."""
        if not self.attends:
            raise UsageError(f"{self.name} has no attention to show: its model does not attend")

    def check_best(self, generation: GenerationConfig, *, n: int, replace_unknown: bool) -> None:
        """Raises `UsageError` for no answers, more than there are, and what cannot be replaced."""
        if n < 1:
            raise UsageError(f"n must be 1 or more, not {n}", fields=("n_best",))
        if n > (most := generation.beam or 1):
            answers = "is one answer" if most == 1 else f"are {most} answers"
            raise UsageError(
                f"there {answers}, and {n} were asked for: use a beam of {n}",
                fields=("generation.beam",),
            )
        if replace_unknown:
            self.check_attends()
            check_copies(self.tokens)

    def unknown(self, question: str) -> list[str]:
        """The pieces of a question that are read as <unk>."""
        return unknown_in(question, self.tokens)

    def measured(self, scores: Scores) -> dict[str, Any]:
        """Scores by name."""
        return scores._asdict()
