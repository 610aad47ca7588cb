"""Sums of two whole numbers: "57+368" -> "425"."""

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from seqgen.data.pairs import Gold, Pair

QUESTION = re.compile(r"([0-9]+)\+([0-9]+)")


@dataclass(frozen=True)
class Addition:
    """Operands are random digit strings of 1 to `digits` digits, leading zeros dropped.

    No pair of operands is drawn twice, as in the book's file: to drop the duplicates of 50,000
    draws would leave far fewer rows.

    Raises:
        ValueError: for digits that are not 1 to 9.

    """

    digits: int = 3
    name: ClassVar[str] = "addition"
    alphabet: ClassVar[str] = " +0123456789_"

    def __post_init__(self) -> None:
        if not 1 <= self.digits <= 9:
            raise ValueError(f"digits must be 1 to 9, not {self.digits}")

    @property
    def question_width(self) -> int:
        return 2 * self.digits + 1

    @property
    def answer_width(self) -> int:
        return self.digits + 1

    def sample(self, generator: np.random.Generator, n: int) -> list[Pair]:
        """`n` pairs, distinct even when their operands are swapped.

        Raises:
            ValueError: if there are not as many.

        """
        numbers = 10**self.digits
        exist = numbers * (numbers + 1) // 2
        if n > exist:
            raise ValueError(
                f"there are {exist:,} distinct additions of up to {self.digits} digits, "
                f"and {n:,} were asked for"
            )
        operands = np.empty((0, 2), np.int64)
        while len(operands) < n:
            lengths = generator.integers(1, self.digits + 1, (2 * n, 2))
            operands = np.concatenate([operands, generator.integers(0, 10**lengths)])
            unordered = operands.min(axis=1) * numbers + operands.max(axis=1)
            operands = operands[np.sort(np.unique(unordered, return_index=True)[1])]
        return [(f"{a}+{b}", str(a + b)) for a, b in operands[:n].tolist()]

    def key(self, question: str, answer: str) -> tuple[int, ...]:
        """The unordered pair of operands. Raises `ValueError` if this is not an addition."""
        if not re.fullmatch("[0-9]+", answer):
            raise ValueError(f"{answer!r} is not a number")
        return tuple(sorted(map(int, self._operands(question).groups())))

    def format(self, question: str) -> str:
        """How many digits the operands have, shorter first: "2+3"."""
        return "+".join(map(str, sorted(map(len, self._operands(question).groups()))))

    def gold(self, question: str, answer: str) -> Gold:
        """Each digit's `column`, and the `carry` into it.

        A carry is read from the place that generates it up to, without, the column.
        """
        operands = self._operands(question)
        gold: Gold = []
        carry: frozenset[int] = frozenset()
        for place in range(1, len(answer) + 1):
            column = frozenset(operands.end(i) - place for i in (1, 2) if place <= len(operands[i]))
            gold.append({"column": column, "carry": carry})
            total = sum(int(question[position]) for position in column)
            if total >= 10:
                carry = column
            elif total == 9 and carry:
                carry |= column
            else:
                carry = frozenset()
        return gold[::-1]

    def _operands(self, question: str) -> re.Match[str]:
        if match := QUESTION.fullmatch(question):
            return match
        raise ValueError(f"{question!r} is not an addition of two numbers")
