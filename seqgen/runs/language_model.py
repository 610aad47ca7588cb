"""The run of a language model."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from seqgen import perplexity
from seqgen.config import RunConfig, checked_seed, structure
from seqgen.decoding import AFTER_END, beam, generate, length_penalty
from seqgen.errors import SeqgenError, UsageError
from seqgen.rules import GREEDY, Decoding
from seqgen.runs.directory import Run
from seqgen.tasks import text
from seqgen.tasks.corpus import Corpus, load
from seqgen.tasks.symbols import END, Symbols
from seqgen.tasks.task import Split
from seqgen.training.source import Lanes
from seqgen.types import Config, Params, Start

AT_ONCE = 16
"""Tokens that are written before they are shown."""

ENDS = (END, ".", "\n")
"""After the first of these that a vocabulary has, a text may begin."""


class Text(NamedTuple):
    """What was written: `text` begins with the prompt, `tokens` and `logprob` (nats) are of what comes after it."""

    prompt: str
    text: str
    tokens: int
    logprob: float


@partial(jax.jit, static_argnums=(0, 1))
def _start(model: ModuleType, cfg: Config, params: Params, source: Any, length: Any) -> Start:
    return model.start(cfg, params, source, length)


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5))
def _write(
    model: ModuleType,
    cfg: Config,
    how: Decoding,
    banned: tuple[int, ...],
    end: int | None,
    limit: int,
    params: Params,
    start: Start,
    keys: Any,
    history: Any,
    first: Any,
) -> tuple[Any, Any, Start]:
    """The next tokens of each row, their log p, and from where to go on."""
    step, rules = partial(model.step, cfg, params), how.rules(banned, end)
    made = generate(step, start, limit=limit, end=end, rules=rules, keys=keys, history=history, first=first)
    return made.tokens, made.logprob, made.next


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4, 5))
def _search(
    model: ModuleType,
    cfg: Config,
    how: Decoding,
    banned: tuple[int, ...],
    end: int | None,
    limit: int,
    params: Params,
    start: Start,
) -> tuple[Any, Any]:
    """The best texts [B, W, T] and their log p."""
    score, rules = length_penalty(how.length_penalty), how.rules(banned, end)
    assert how.beam is not None
    made = beam(partial(model.step, cfg, params), start, limit=limit, end=end, width=how.beam, score=score, rules=rules)
    return made.tokens, made.logprob


class LanguageModelRun(Run):
    """Writes text, and is scored by perplexity."""

    load = staticmethod(load)

    @staticmethod
    def called(config: RunConfig) -> str:
        """ptb-lstm and the like."""
        data, model = config.data, config.model
        return f"{data.name}-{model.cell}"

    @staticmethod
    def complete(config: RunConfig, load: Callable[[Any], Corpus]) -> tuple[RunConfig, Corpus]:
        """With the text's checksum and the vocabulary's size. Raises `UsageError` for less text than a step reads."""
        data, model, training = config.data, config.model, config.training
        if isinstance(data, text.Text):
            path = None if data.path is None else str(Path(data.path).absolute())
            data = replace(data, path=path, sha256=text.checksum(path))
        corpus = load(data)
        if Lanes(len(corpus.train), training.batch, training.window).steps < 1:
            wanted = f"{training.batch} lanes of {training.window}"
            few = f"{data.name}: {len(corpus.train):,} tokens are too few for {wanted}"
            raise UsageError(f"{few}; a smaller --batch or --window would do")
        if max(len(corpus.validation), len(corpus.test)) < 2:
            raise UsageError(f"{data.name}: no tokens are held out to score the run on; a larger --validation would do")
        return replace(config, data=data, model=replace(model, vocabulary=len(corpus.symbols))), corpus

    def described(self) -> dict[str, Any]:
        """The unit and its symbols."""
        return asdict(self.dataset.symbols)

    @cached_property
    def symbols(self) -> Symbols:
        """What the run's ids stand for. Raises `SeqgenError` where that cannot be what its model was made for."""
        symbols = structure(self.path / "vocabulary.json", Symbols)
        if len(symbols) != self.config.model.vocabulary:
            raise SeqgenError(f"{self.path / 'vocabulary.json'}: {len(symbols)} symbols are not what the model was made for")
        return symbols

    @property
    def held_out(self) -> Split:
        """What the run is watched on: the test split where there are no others."""
        return "validation" if len(self.dataset.validation) > 1 else "test"

    @property
    def tested_on(self) -> Split:
        """What the run is scored on at its end: the validation split where there is no other."""
        return "test" if len(self.dataset.test) > 1 else "validation"

    def tokens(self, split: Split) -> Integer[np.ndarray, " N"]:
        """A split's ids. Raises `UsageError` where the run has none."""
        tokens = getattr(self.dataset, split)
        if len(tokens) < 2:
            others = ", ".join(name for name in ("validation", "test") if len(getattr(self.dataset, name)) > 1)
            raise UsageError(f"{self.path} has no {split} split" + (f"; --split {others} would do" if others else ""))
        return tokens

    def evaluate(self, split: Split = "test") -> perplexity.Perplexity:
        """Perplexity over a whole split in one lane, the carry kept from its first token to its last."""
        return perplexity.perplexity(self.model, self.config.model, self.params, self.tokens(split))

    def generate(
        self,
        prompts: Sequence[str] = ("",),
        *,
        length: int = 100,
        how: Decoding = GREEDY,
        ban: Sequence[str] = (),
        end: str | None = None,
        seed: int = 0,
        n: int = 1,
    ) -> list[list[Text]]:
        """`n` texts for each prompt, drawn or the best of a beam; a prompt's texts do not depend on the prompts beside it.

        `ban`ned symbols are never written; after `end` a text is over. Raises `UsageError` for a symbol or a prompt that the
        run cannot read, and where nothing is left to write.
        """
        *_, texts = self.stream(prompts, length=length, how=how, ban=ban, end=end, seed=seed, n=n)
        return [texts[i : i + n] for i in range(0, len(texts), n)]

    def stream(
        self,
        prompts: Sequence[str],
        *,
        length: int,
        how: Decoding,
        ban: Sequence[str] = (),
        end: str | None = None,
        seed: int = 0,
        n: int = 1,
    ) -> Iterator[list[Text]]:
        """As `generate`, in one list, again and again as the texts grow; what a beam finds is there at once."""
        if length < 1 or n < 1:
            raise UsageError(f"length and n must be 1 or more, not {length} and {n}")
        if how.beam is None and not how.draws and n > 1:
            raise UsageError(f"there is one greedy text, and {n} were asked for: a --temperature or a --beam would do")
        if how.min_length is not None and end is None:
            raise UsageError("min_length puts off an end symbol, and there is none: an --end would do")
        if how.beam is not None and n > how.beam:
            raise UsageError(f"a beam of {how.beam} has no {n} texts; a wider --beam would do")
        banned = tuple(sorted({self.symbols.id_of(symbol) for symbol in ban}))
        last = None if end is None else self.symbols.id_of(end)
        repeated = [prompt for prompt in prompts for _ in range(n)]
        ids = [self.prompted(prompt) for prompt in (prompts if how.beam else repeated)]
        width = 1 << (max(map(len, ids)) - 1).bit_length()
        source = np.stack([np.pad(row, (0, width - len(row))) for row in ids])
        start = _start(self.model, self.config.model, self.params, source, np.array([len(row) for row in ids], np.int32))
        fixed = self.model, self.config.model, how, banned, last
        if how.beam is not None:
            made = _search(*fixed, length, self.params, start)
            yield self.texts(repeated, *(np.asarray(part)[:, :n].reshape(-1, *part.shape[2:]) for part in made))
            return
        keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(checked_seed(seed))))(jnp.tile(jnp.arange(n), len(prompts)))
        keys = keys if how.draws else None
        history = np.full((len(ids), length), AFTER_END, np.int32)
        logprob = np.zeros(len(ids))
        for first in range(0, length, AT_ONCE):
            limit = min(AT_ONCE, length - first)
            tokens, gained, start = _write(*fixed, limit, self.params, start, keys, history, np.int32(first))
            history[:, first : first + limit] = tokens
            logprob += np.asarray(gained)
            yield self.texts(repeated, history[:, : first + limit], logprob)
            if last is not None and (history == last).any(axis=1).all():
                return

    def prompted(self, prompt: str) -> Integer[np.ndarray, " N"]:
        """A prompt's ids; an empty one is the end of a line, or of a sentence, after which a new one begins."""
        if len(ids := self.symbols.encode(prompt)):
            return ids
        return np.array([next((self.symbols.ids[end] for end in ENDS if end in self.symbols.ids), 0)], np.int32)

    def texts(self, prompts: Sequence[str], tokens: np.ndarray, logprob: np.ndarray) -> list[Text]:
        """What was written after each prompt. Raises `UsageError` where a text could not go on."""
        found = []
        for prompt, row, score in zip(prompts, tokens, logprob, strict=True):
            row = row[row != AFTER_END]
            if score == -np.inf:
                where = f"after {prompt!r} and {len(row)} tokens"
                raise UsageError(f"{where} nothing is left to write: bans and rules take every token")
            text = self.symbols.decode(np.concatenate([self.symbols.encode(prompt), row]))
            found.append(Text(prompt, text, len(row), float(score)))
        return found

    def score(self, lines: Sequence[str]) -> Iterator[tuple[float, int]]:
        """The sum of -log p in nats, and the tokens, of each line, its end with it, read after all lines before it."""
        begin = self.prompted("")
        ids = [self.symbols.encode(line) for line in lines]
        losses = perplexity.token_losses(self.model, self.config.model, self.params, np.concatenate([begin, *ids]))
        for part in np.split(losses, np.cumsum([len(line) for line in ids])[:-1]):
            yield float(np.sum(part, dtype=np.float64)), len(part)

    def states(self, text: str) -> Float[np.ndarray, "T H"]:
        """The last cell's hidden state after each of a text's tokens."""
        return np.asarray(self.model.states(self.config.model, self.params, jnp.asarray(self.symbols.encode(text)[None]))[0])

    def next_logprobs(self, text: str) -> Float[np.ndarray, " V"]:
        """log p of every token after a text, in nats."""
        start = self.model.start(self.config.model, self.params, jnp.asarray(self.prompted(text)[None]), None)
        _, out = self.model.step(self.config.model, self.params, start.memory, start.carry, start.token)
        return np.asarray(jax.nn.log_softmax(out.logits[0]))

    def measured(self, scores: perplexity.Perplexity) -> dict[str, Any]:
        """Scores by name, with bits a character where characters are the unit."""
        bits = {"bits_per_character": scores.loss / math.log(2)} if self.symbols.unit == "character" else {}
        return {**scores._asdict(), **bits}
