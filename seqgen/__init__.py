"""Sequence generation in JAX: from the seq2seq models of "Deep Learning from Scratch 2" onwards.

    import seqgen

    run = seqgen.load("runs/dates-attention")
    run.predict(["TUESDAY, SEPTEMBER 25, 1984"])  # ['1984-09-25']

`load` opens a run, a `seqgen.families.pairs_run.PairsRun` or a `seqgen.families.text_run.TextRun`,
or several of pairs, as a `seqgen.families.ensemble.Ensemble`.
`seqgen.presets` has the settings of named pairs of data and model, `seqgen.config` what settings
there are, `seqgen.families.create` makes a new run of them and `seqgen.sweeps` many at a time.

Imports flow one way: `types`, `errors`; then `storage`, `nn`; `models`, `data`; `tasks`,
`decoding`, `training`; `evaluation`, `interop`, `viz`; `families`; `sweeps`; `cli`. Tasks know no
model, training knows functions only: they meet in `families` and in `presets`. `config` takes
`HyperConfig` and names of optimizers and schedules from `training`, and nothing else from any part.

Saitoh, Deep Learning from Scratch 2 (O'Reilly Japan 2018). Sutskever, Vinyals & Le 2014, Sequence
to sequence learning. Cho et al. 2014, RNN encoder-decoder. Bahdanau, Cho & Bengio 2015, Jointly
learning to align and translate. Luong, Pham & Manning 2015, Effective approaches to attention.
Jozefowicz, Zaremba & Sutskever 2015, Recurrent network architectures.
"""

from os import PathLike
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from seqgen.families import Run

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def load(run: str | PathLike[str], *more: str | PathLike[str]) -> "Run":
    """Open a run: a path, or a name under `runs/`. It can `.predict`, `.evaluate`, ...

    Several are an ensemble, which can do the same.
    """
    from seqgen import families  # here: `import seqgen` does not import jax

    return families.load(run, *more)
