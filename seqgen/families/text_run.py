"""The run of a language model."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Integer, Key

from seqgen.config import strict_converter
from seqgen.data.pairs import Split
from seqgen.data.token_store import sizes_of
from seqgen.data.tokenizer import END, Vocabulary, text_vocabulary
from seqgen.decoding.compiled import next_token, read, search, write
from seqgen.decoding.generate import AFTER_END
from seqgen.decoding.logits import GREEDY, GenerationConfig
from seqgen.errors import UsageError
from seqgen.evaluation.perplexity import Perplexity, token_losses
from seqgen.families.run import Run, check_attends, check_end, sampling_key
from seqgen.nn.switches import fixed
from seqgen.ranges import check_count
from seqgen.types import Batch, Sizes

AT_ONCE = 16
"""Tokens that are written before they are shown."""

ENDS = (END, ".", "\n")
"""After the first of these that a vocabulary has, a text may begin."""


@dataclass(frozen=True)
class Tokens:
    """What vocabulary.json holds."""

    tokenizer: Vocabulary


class Text(NamedTuple):
    """What was written after a prompt, with which `text` begins.

    `tokens` counts what comes after the prompt; `logprob` is its log p in nats.
    """

    prompt: str
    text: str
    tokens: int
    logprob: float


class TextRun(Run):
    """Writes text, and is scored by perplexity."""

    def described(self) -> dict[str, Any]:
        """The tokens."""
        return strict_converter().unstructure(Tokens(self.dataset.tokenizer))

    @cached_property
    def tokenizer(self) -> Vocabulary:
        """What the run's ids stand for. Raises `SeqgenError` where vocabulary.json is damaged."""
        return self.stored(Tokens, migrated).tokenizer

    def meaning(self) -> dict[str, Any]:
        """What its ids stand for, as JSON has it: the tokens in order; there is no padding."""
        return {**strict_converter().unstructure(Tokens(self.tokenizer)), "padding": None}

    @property
    def sizes(self) -> Sizes:
        """What its tokens tell a model."""
        return sizes_of(self.tokenizer)

    @property
    def evaluation_split(self) -> Split:
        """What is evaluated during training: the test split where there is no validation one."""
        return "validation" if len(self.dataset.validation) > 1 else "test"

    @property
    def test_split(self) -> Split:
        """What is evaluated at its end: the validation split where there is no test one."""
        return "test" if len(self.dataset.test) > 1 else "validation"

    def tokens(self, split: Split) -> Integer[np.ndarray, " N"]:
        """A split's ids. Raises `UsageError` where the run has none."""
        tokens = getattr(self.dataset, split)
        if len(tokens) >= 2:
            return tokens
        names = [name for name in ("validation", "test") if len(getattr(self.dataset, name)) > 1]
        others = f"; use split {' or '.join(names)}" if names else ""
        raise UsageError(f"{self.path} has no {split} split{others}", fields=("split",))

    def generate(
        self,
        prompts: Sequence[str] = ("",),
        *,
        length: int = 100,
        generation: GenerationConfig = GREEDY,
        ban: Sequence[str] = (),
        end: str | None = None,
        seed: int = 0,
        n: int = 1,
    ) -> list[list[Text]]:
        """`n` texts for each prompt; they do not depend on the prompts beside it.

        Args:
            prompts: what the texts begin with.
            length: tokens to write.
            generation: how they are chosen.
            ban: symbols that are never written.
            end: a symbol after which a text is over.
            seed: of the sampling.
            n: texts per prompt: sampled, or the best of a beam.

        Raises:
            UsageError: for a symbol or a prompt that the run cannot read, and where nothing is left
                to write.

        """
        options: dict[str, Any] = {"length": length, "generation": generation, "ban": ban}
        *_, texts = self.stream(prompts, **options, end=end, seed=seed, n=n)
        return [texts[i : i + n] for i in range(0, len(texts), n)]

    def stream(
        self,
        prompts: Sequence[str],
        *,
        length: int,
        generation: GenerationConfig,
        ban: Sequence[str] = (),
        end: str | None = None,
        seed: int = 0,
        n: int = 1,
    ) -> Iterator[list[Text]]:
        """The texts of `generate` in one list, again and again as they grow.

        What a beam finds is there at once. Raises as `generate`.

        Args:
            prompts: what the texts begin with.
            length: tokens to write.
            generation: how they are chosen.
            ban: symbols that are never written.
            end: a symbol after which a text is over.
            seed: of the sampling.
            n: texts per prompt: sampled, or the best of a beam.

        """
        check_wanted(length, generation, end, n)
        key = sampling_key(generation, seed)
        banned = tuple(sorted({self.tokenizer.id_of(symbol) for symbol in ban}))
        last = None if end is None else self.tokenizer.id_of(end)
        if not prompts:
            yield []
            return
        repeated = [prompt for prompt in prompts for _ in range(n)]
        ids = [self.prompted(prompt) for prompt in (prompts if generation.beam else repeated)]
        width = 1 << (max(map(len, ids)) - 1).bit_length()
        source = np.stack([np.pad(row, (0, width - len(row))) for row in ids])
        lengths = np.array([len(row) for row in ids], np.int32)
        start = read(self.model, length, self.params, source, lengths)
        fixed = self.model, generation, banned, last
        if generation.beam is not None:
            found = search(*fixed, length, self.params, start)
            best = (np.asarray(part)[:, :n].reshape(-1, *part.shape[2:]) for part in found)
            yield self.texts(repeated, *best)
            return
        keys = None if key is None else self.keys(key, n, len(prompts))
        history = np.full((len(ids), length), AFTER_END, np.int32)
        logprob = np.zeros(len(ids))
        for first in range(0, length, AT_ONCE):
            limit = min(AT_ONCE, length - first)
            tokens, gained, start = write(
                *fixed, limit, self.params, start, keys, history, np.int32(first)
            )
            history[:, first : first + limit] = tokens
            logprob += np.asarray(gained)
            yield self.texts(repeated, history[:, : first + limit], logprob)
            if last is not None and (history == last).any(axis=1).all():
                return

    @fixed()
    def keys(self, root: Key[Array, ""], n: int, prompts: int) -> Key[Array, " N"]:
        """A key for each text: those of one prompt are those of every other."""
        return jax.vmap(partial(jax.random.fold_in, root))(jnp.tile(jnp.arange(n), prompts))

    def encoded(self, text: str) -> Int[np.ndarray, " N"]:
        """A text's ids, int32. Raises `UsageError` for what the run cannot read."""
        return np.array(self.tokenizer.encode(text), np.int32)

    def prompted(self, prompt: str) -> Int[np.ndarray, " N"]:
        """A prompt's ids; an empty one is the end of a line or sentence, after which one begins."""
        if len(ids := self.encoded(prompt)):
            return ids
        known = {"\n": ord("\n")} if self.tokenizer.unit == "byte" else self.tokenizer.ids
        return np.array([next((known[end] for end in ENDS if end in known), 0)], np.int32)

    def texts(self, prompts: Sequence[str], tokens: np.ndarray, logprob: np.ndarray) -> list[Text]:
        """What was written after each prompt. Raises `UsageError` where a text could not go on."""
        found = []
        for prompt, row, score in zip(prompts, tokens, logprob, strict=True):
            row = row[row != AFTER_END]
            if score == -np.inf:
                raise UsageError(
                    f"after {prompt!r} and {len(row)} tokens nothing is left to write: "
                    "bans and logits processors take every token"
                )
            text = self.tokenizer.decode(np.concatenate([self.encoded(prompt), row]))
            found.append(Text(prompt, text, len(row), float(score)))
        return found

    def score(self, lines: Sequence[str]) -> Iterator[tuple[float, int]]:
        """The sum of -log p in nats, and the tokens, of each line, read after all lines before it.

        A line's end is one of its tokens.
        """
        begin = self.prompted("")
        ids = [self.encoded(line) for line in lines]
        losses = token_losses(self.model, self.params, np.concatenate([begin, *ids]))
        for part in np.split(losses, np.cumsum([len(line) for line in ids])[:-1]):
            yield float(np.sum(part, dtype=np.float64)), len(part)

    @fixed()
    def states(self, text: str) -> Float[np.ndarray, "T H"]:
        """The last cell's hidden state after each of a text's tokens.

        Raises `UsageError` for a model that has none.
        """
        ids = jnp.asarray(self.encoded(text)[None])
        batch = Batch(None, None, ids, ids, jnp.ones(ids.shape, bool))
        _, out = self.model.apply(
            self.params, batch, self.model.initial_state(self.params, 1), None
        )
        if "states" not in out.aux:
            raise UsageError(f"{self.path} has no hidden states to show")
        return np.asarray(out.aux["states"][0])

    @fixed()
    def next_logprobs(self, text: str) -> Float[np.ndarray, " V"]:
        """log p of every token after a text, in nats."""
        prompt = self.prompted(text)[None]
        start = read(self.model, 1, self.params, prompt, None)
        return np.asarray(jax.nn.log_softmax(next_token(self.model, self.params, start).logits[0]))

    def measured(self, scores: Perplexity) -> dict[str, Any]:
        """Scores by name, with bits per character where characters are the unit."""
        characters = self.tokenizer.unit == "character"
        bits = {"bits_per_character": scores.loss / math.log(2)} if characters else {}
        return {**scores._asdict(), **bits}


def check_wanted(length: int, generation: GenerationConfig, end: str | None, n: int) -> None:
    """Raises `UsageError` for texts that cannot be.

    Args:
        length: tokens to write.
        generation: how they are chosen.
        end: a symbol after which a text is over.
        n: texts per prompt.

    """
    if length < 1 or n < 1:
        raise UsageError(
            f"length and n must be 1 or more, not {length} and {n}", fields=("length", "n")
        )
    check_count("length", length)
    check_count("n", n)
    if generation.beam is None and not generation.samples and n > 1:
        raise UsageError(
            f"there is one greedy text, and {n} were asked for: use a temperature or a beam",
            fields=("generation.temperature", "generation.beam"),
        )
    check_end(generation, end, length, "give an end")
    check_attends(generation, attends=False)
    if generation.beam is not None and n > generation.beam:
        raise UsageError(
            f"a beam of {generation.beam} has no {n} texts; use a wider beam",
            fields=("generation.beam",),
        )


def migrated(content: dict[str, Any]) -> dict[str, Any]:
    """A vocabulary.json; one of version 1 had a unit and a table alone."""
    if "unit" not in content:
        return content
    vocabulary = text_vocabulary(content["unit"], content["table"])
    return {"tokenizer": strict_converter().unstructure(vocabulary)}
