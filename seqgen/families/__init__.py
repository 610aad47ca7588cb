"""Where data meets a model: a kind of data is one record, its runs are directories.

Each kind has two files, the record and its opened run: `pairs` and `pairs_run`, `text` and
`text_run`. Outside this package nothing asks which kind a run is of, but commands that only one
kind has, and the book's pickles.
"""

from seqgen.families.average import average
from seqgen.families.directory import (
    accept,
    check_files,
    check_path,
    complete,
    create,
    extend,
    is_run,
    locate,
    open_at,
    open_pairs,
    open_run,
    open_text,
    write_metadata,
)
from seqgen.families.ensemble import Ensemble, load
from seqgen.families.family import Family
from seqgen.families.fit import EVALUATION_NOTES, adopt, finished, fit
from seqgen.families.pairs_run import PairsRun
from seqgen.families.registry import FAMILIES, family_of
from seqgen.families.run import Run, parameters
from seqgen.families.schema import config_of, flat
from seqgen.families.text_run import TextRun

__all__ = [
    "EVALUATION_NOTES",
    "FAMILIES",
    "Ensemble",
    "Family",
    "PairsRun",
    "Run",
    "TextRun",
    "accept",
    "adopt",
    "average",
    "check_files",
    "check_path",
    "complete",
    "config_of",
    "create",
    "extend",
    "family_of",
    "finished",
    "fit",
    "flat",
    "is_run",
    "load",
    "locate",
    "open_at",
    "open_pairs",
    "open_run",
    "open_text",
    "parameters",
    "write_metadata",
]
