"""Dates as people write them, to ISO 8601: "TUESDAY, SEPTEMBER 25, 1984" -> "1984-09-25"."""

import re
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import ClassVar

import numpy as np

from seqgen.data.pairs import Gold, Pair

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
CASES = (str, str, str.lower, str.upper)

FORMATS = {
    "short": "{m}/{d}/{yy}",
    "medium": "{mon} {d}, {yyyy}",
    "long": "{month} {d}, {yyyy}",
    "full": "{weekday}, {month} {d}, {yyyy}",
}
FIELDS = {
    "m": "(?P<month>[0-9]{1,2})",
    "mon": f"(?P<month>{'|'.join(month[:3] for month in MONTHS)})",
    "month": f"(?P<month>{'|'.join(MONTHS)})",
    "weekday": f"(?:{'|'.join(WEEKDAYS)})",
    "d": "(?P<day>[0-9]{1,2})",
    "yy": "(?P<year>[0-9]{2})",
    "yyyy": "(?P<year>[0-9]{4})",
}
PATTERNS = {
    name: re.compile(form.format(**FIELDS), re.IGNORECASE | re.ASCII)
    for name, form in FORMATS.items()
}
ISO = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")


def write(day: date, name: str) -> str:
    """A day in one of the `FORMATS`, in English whatever the locale."""
    month = MONTHS[day.month - 1]
    return FORMATS[name].format(
        m=day.month, mon=month[:3], month=month, weekday=WEEKDAYS[day.weekday()],
        d=day.day, yy=f"{day.year % 100:02d}", yyyy=day.year,
    )  # fmt: skip


@dataclass(frozen=True)
class Dates:
    """Days are uniform over the years, formats over `formats`.

    Half are as written, a quarter each in lower and in upper case.

    Args:
        first_year: the first one whose days are drawn.
        last_year: the last one.
        formats: names of some of `FORMATS`.

    Raises:
        ValueError: for settings without sense.

    """

    first_year: int = 1970
    last_year: int = 2017
    formats: tuple[str, ...] = tuple(FORMATS)
    name: ClassVar[str] = "dates"
    answer_width: ClassVar[int] = 10

    def __post_init__(self) -> None:
        if not 1000 <= self.first_year <= self.last_year <= 9999:
            raise ValueError(
                "years must run upward within 1000 to 9999, not "
                f"from {self.first_year} to {self.last_year}"
            )
        unknown = [name for name in self.formats if name not in FORMATS]
        if unknown or not self.formats or len(set(self.formats)) < len(self.formats):
            raise ValueError(
                f"formats must be some of {', '.join(FORMATS)}, each at most once, "
                f"not {self.formats!r}"
            )
        if "short" in self.formats and self.last_year - self.first_year >= 100:
            raise ValueError(
                "a year of two digits is ambiguous over more than 100 years: "
                "leave out the short format"
            )

    @cached_property
    def _questions(self) -> list[str]:
        """A leap year in every format: all names of months and weekdays, and all widths."""
        year = range(date(2000, 1, 1).toordinal(), date(2001, 1, 1).toordinal())
        return [write(date.fromordinal(day), name) for day in year for name in self.formats]

    @cached_property
    def alphabet(self) -> str:
        text = "".join(self._questions)
        return "".join(sorted(set(text + text.lower() + text.upper() + " -_")))

    @property
    def question_width(self) -> int:
        return max(map(len, self._questions))

    def sample(self, generator: np.random.Generator, n: int) -> list[Pair]:
        """`n` draws with replacement: the same question may come again."""
        first = date(self.first_year, 1, 1).toordinal()
        end = date(self.last_year, 12, 31).toordinal() + 1
        days = map(date.fromordinal, generator.integers(first, end, n).tolist())
        formats = generator.integers(len(self.formats), size=n).tolist()
        cases = generator.integers(len(CASES), size=n).tolist()
        return [
            (CASES[case](write(day, self.formats[form])), day.isoformat())
            for day, form, case in zip(days, formats, cases, strict=True)
        ]

    def key(self, question: str, answer: str) -> str:
        """The day, which is the answer.

        Raises:
            ValueError: if it is not one, or the question is in none of the formats.

        """
        self._read(question)
        if not ISO.fullmatch(answer):
            raise ValueError(f"{answer!r} is not a date like 1984-09-25")
        try:
            return date.fromisoformat(answer).isoformat()
        except ValueError as error:
            raise ValueError(f"{answer!r} is no day: {error}") from error

    def format(self, question: str) -> str:
        """The first of the formats that the question is in.

        "May 1, 1984" is both medium and long.
        """
        return self._read(question)[0]

    def gold(self, question: str, answer: str) -> Gold:
        """`year`, `month`, `day`: the digit of the same place, or the month's word.

        The other classes are what must be inferred.
        """
        match = self._read(question)[1]
        separator: Gold = [{"separator": frozenset()}]
        year = _digits(match, "year")
        if len(year) == 2:
            year = [{"century": frozenset(range(*match.span("year")))}] * 2 + year
        word: Gold = [{"month": frozenset(range(*match.span("month")))}] * 2
        month = _digits(match, "month") if match["month"].isdigit() else word
        return year + separator + month + separator + _digits(match, "day")

    def _read(self, question: str) -> tuple[str, re.Match[str]]:
        for name in self.formats:
            if match := PATTERNS[name].fullmatch(question):
                return name, match
        raise ValueError(f"{question!r} is in none of the formats {', '.join(self.formats)}")


def _digits(match: re.Match[str], group: str) -> Gold:
    """Each digit from itself; before a lone one the `implied-zero`.

    That is read from the digit and the character before it.
    """
    start, end = match.span(group)
    gold: Gold = [{group: frozenset({position})} for position in range(start, end)]
    implied: Gold = [{"implied-zero": frozenset({max(start - 1, 0), start})}]
    return implied + gold if len(gold) == 1 else gold
