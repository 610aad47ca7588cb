"""Answers as lines: texts with tabs between them, or JSON."""

import json
import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from seqgen.decoding.logits import GenerationConfig
from seqgen.families import PairsRun
from seqgen.families.answer import Answer, Asked, replaced

BREAKS = str.maketrans("\t\r\n", "   ")
"""What parts answers and lines is a blank within one: bytes can make any text."""

DECIMALS = 6
"""Of numbers in JSON."""


@dataclass(frozen=True)
class Writer:
    """What a command asks of a run, for any questions.

    Args:
        run: what answers.
        generation: how answers are chosen.
        seed: of the sampling.
        n: how many answers a question has.
        prefix: what they begin with.
        replace_unknown: whether an <unk> is replaced by a source piece.
        json: whether a line is a JSON object.

    """

    run: PairsRun
    generation: GenerationConfig
    seed: int
    n: int
    prefix: str | None
    replace_unknown: bool
    json: bool

    def lines(self, questions: list[str]) -> str:
        """A line for each question, in their order; those of like length are decoded together."""
        tell_unknown(self.run, questions)
        order = [i for i, question in enumerate(questions) if question.strip()]
        order.sort(key=lambda i: len(questions[i]))
        made = dict(zip(order, self._made([questions[i] for i in order]), strict=True))
        nothing = {"question": "", "source": [], "answers": []}
        empty = json.dumps(nothing) if self.json else ""
        return "".join(f"{made.get(i, empty)}\n" for i in range(len(questions)))

    def _made(self, questions: list[str]) -> list[str]:
        how: dict[str, Any] = {"seed": self.seed, "prefix": self.prefix}
        best = {"n": self.n, "replace_unknown": self.replace_unknown}
        if not self.json:
            found = self.run.best(questions, self.generation, **how, **best)
            return ["\t".join(text.translate(BREAKS) for text in answers) for answers in found]
        self.run.check_best(self.generation, **best)
        found = self.run.asked(questions, self.generation, **how)
        return [json.dumps(self._object(each), ensure_ascii=False) for each in found]

    def _object(self, each: Asked) -> dict[str, Any]:
        """A question with its answers; without those of a beam that found fewer texts."""
        answers = [
            self._answer(each, one) for one in each.answers[: self.n] if one.logprob > -np.inf
        ]
        return {"question": each.question, "source": each.source, "answers": answers}

    def _answer(self, each: Asked, one: Answer) -> dict[str, Any]:
        logprobs = [round(float(each), DECIMALS) for each in one.logprobs]
        text = replaced(each, one, self.run.tokens) if self.replace_unknown else one.text
        found = {
            "answer": text,
            "logprob": round(math.fsum(logprobs), DECIMALS),
            "tokens": one.tokens,
            "logprobs": logprobs,
        }
        if "attention" in one.maps:
            weights = np.float64(one.maps["attention"]).mean(0)
            found["attention"] = np.round(weights, DECIMALS).tolist()
        return found


def tell_unknown(run: PairsRun, questions: list[str]) -> None:
    """Say what of questions is not in the run's vocabulary, where it is read as <unk>."""
    if lost := dict.fromkeys(piece for each in questions for piece in run.unknown(each)):
        print(f"not in the vocabulary, read as <unk>: {' '.join(lost)}", file=sys.stderr)
