"""A run is a directory: its configuration, vocabulary, log, checkpoints, samples and figures. Here it is made and opened.

    config.json  vocabulary.json  versions.json  metrics.jsonl  samples/<step>.txt  checkpoints/  figures/
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

import cattrs
import jax
import numpy as np
from cattrs.preconf.json import make_converter
from cattrs.strategies import configure_tagged_union
from jaxtyping import Float

from seqgen import evaluation
from seqgen.decoding import Generated, generate
from seqgen.errors import SeqgenError, UsageError
from seqgen.files import write
from seqgen.models import model_of, seq2seq
from seqgen.tasks.addition import Addition
from seqgen.tasks.dataset import Data, Dataset, checksum, load
from seqgen.tasks.dates import Dates
from seqgen.tasks.task import Layout, Pair, encode, encode_questions, reading_order, render
from seqgen.tasks.vocabulary import DELIMITER, Vocabulary
from seqgen.training import checkpoint, log
from seqgen.training.loop import best_step
from seqgen.training.state import HyperConfig, ScheduleName
from seqgen.types import Batch, Params
from seqgen.versions import versions

Split = Literal["train", "validation", "test"]


@dataclass(frozen=True)
class Training:
    """`epochs` of batches of `batch` examples, or `steps` where given.

    The rate is constant, or rises over the first `warmup` of all steps (a fraction) and falls to 0 as a cosine.
    """

    epochs: int = 25
    batch: int = 128
    steps: int | None = None
    schedule: ScheduleName = "constant"
    warmup: float = 0.0
    select: Literal["last", "best"] = "last"

    def __post_init__(self) -> None:
        for name, value in (("epochs", self.epochs), ("batch", self.batch), ("steps", self.steps)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"warmup is a fraction of all steps, at least 0 and below 1, not {self.warmup}")


@dataclass(frozen=True)
class RunConfig:
    """Task x model x training: all that it takes to make a run again."""

    data: Data
    model: seq2seq.Config
    training: Training = field(default_factory=Training)
    hyper: HyperConfig = field(default_factory=HyperConfig)
    seed: int = 0


def _converter() -> cattrs.Converter:
    """JSON and back: unknown keys are refused, the task carries its name."""
    converter = make_converter(forbid_extra_keys=True)
    configure_tagged_union(Addition | Dates, converter, tag_name="name", tag_generator=lambda task: task.__name__.lower())
    return converter


CONVERTER = _converter()


class Attended(NamedTuple):
    """What a model looked at: one row for each character of its answer (and its end), in reading order of the question."""

    question: str
    answer: str
    weights: Float[np.ndarray, "K T S"]


class Run:
    """An opened run directory. Reads its files when they are asked for, and keeps what it read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"seqgen.load({str(self.path)!r})"

    @cached_property
    def config(self) -> RunConfig:
        """What the run is. Raises `SeqgenError` for a file that is not whole or not ours."""
        return structure(self.path / "config.json", RunConfig)

    @cached_property
    def _text(self) -> "_Text":
        return structure(self.path / "vocabulary.json", _Text)

    @property
    def vocabulary(self) -> Vocabulary:
        """The run's characters in the order of their ids."""
        return Vocabulary(self._text.characters)

    @property
    def layout(self) -> Layout:
        """How the run turns text into rows of ids."""
        return self._text.layout

    @cached_property
    def dataset(self) -> Dataset:
        """The data, made or read again."""
        return load(self.config.data)

    @property
    def model(self) -> ModuleType:
        """The module of the model."""
        return model_of(self.config.model)

    @cached_property
    def params(self) -> Params:
        """The parameters of the selected epoch: the last, or the best one on the validation split (`--select best`)."""
        like = jax.eval_shape(partial(self.model.init, self.config.model), jax.random.key(0))
        return checkpoint.restore_params(self.path, like, self.selected_step())[1]

    def selected_step(self) -> int:
        """The step of the selected epoch. Raises `SeqgenError` while there is none."""
        steps = checkpoint.steps(self.path, "params")
        if not steps:
            raise SeqgenError(f"{self.path} has no parameters yet; `seqgen resume {self.path}` trains it")
        return best_step(log.read(self.path)) if self.config.training.select == "best" else steps[-1]

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

    def decode(self, questions: Sequence[str]) -> Generated:
        """Greedy answers. Rows are filled up to a power of two, so that few programs serve all numbers of questions."""
        rows = len(questions)
        filled = [*questions, *[questions[0]] * ((1 << (rows - 1).bit_length()) - rows)]
        source, length = encode_questions(filled, self.vocabulary, self.layout)
        masked = self.layout.kind == "masked"
        made = decode(
            self.model,
            self.config.model,
            self.layout.answer_width + masked,
            self.config.model.delimiter if masked else None,
            self.params,
            source,
            length,
        )
        return jax.tree.map(lambda leaf: np.asarray(leaf)[:rows], made)

    def predict(self, questions: Sequence[str]) -> list[str]:
        """An answer for each question. Raises `UsageError`, naming the character, for what the run cannot read."""
        if isinstance(questions, str):
            raise UsageError("predict takes a list of questions: [question]")
        return [render(row, self.vocabulary, self.layout) for row in self.decode(questions).tokens] if questions else []

    def attention(self, question: str) -> Attended:
        """Where each character of the answer looked. Raises `UsageError` for a model without attention."""
        if not self.attends:
            raise UsageError(f"{self.path} has no attention to show: its decoder reads {self.config.model.decoder.outputs or 'nothing'}")
        made = self.decode([question])
        source, length = encode_questions([question], self.vocabulary, self.layout)
        answer = render(made.tokens[0], self.vocabulary, self.layout)
        weights = reading_order(made.aux["attention"][0], source.shape[1] if length is None else length[0], self.layout)
        return Attended(question, answer, weights.swapaxes(0, 1)[:, : len(answer), : len(question)])

    def evaluate(self, split: Split = "test") -> evaluation.Scores:
        """Exact match, token accuracy and loss on a split."""
        batch = self.batch(split)
        return evaluation.evaluate(self.model, self.config.model, self.params, batch, self.vocabulary, self.layout)[0]


@dataclass(frozen=True)
class _Text:
    """What vocabulary.json holds."""

    characters: str
    layout: Layout


@partial(jax.jit, static_argnums=(0, 1, 2, 3))
def decode(model: ModuleType, cfg: Any, limit: int, end: int | None, params: Params, source: Any, length: Any) -> Generated:
    """Greedy decoding as one program."""
    made = generate(partial(model.step, cfg, params), model.start(cfg, params, source, length), limit=limit, end=end)
    return made._replace(next=None)


def create(config: RunConfig, name: str | None, folder: Path = Path("runs")) -> Run:
    """Make the directory of a new run. Raises `UsageError` if `name` exists, `SeqgenError` if it cannot be written."""
    if config.data.file is not None:
        config = replace(config, data=replace(config.data, sha256=checksum(config.data.file)))
    dataset = load(config.data)
    vocabulary = dataset.vocabulary
    model = replace(config.model, vocabulary=len(vocabulary), delimiter=vocabulary.ids[DELIMITER])
    config = replace(config, model=model)
    if len(dataset.splits.train) < config.training.batch:
        raise UsageError(f"--batch {config.training.batch} is more than the {len(dataset.splits.train)} training examples")
    path = claim(folder, name, config)
    try:
        write(path / "vocabulary.json", json.dumps(CONVERTER.unstructure(_Text(vocabulary.characters, dataset.layout)), indent=1))
        write(path / "versions.json", json.dumps(versions(), indent=1))
        write(path / "config.json", json.dumps(CONVERTER.unstructure(config), indent=1))
    except SeqgenError:
        shutil.rmtree(path, ignore_errors=True)
        raise
    run = Run(path)
    run.dataset = dataset
    return run


def claim(folder: Path, name: str | None, config: RunConfig) -> Path:
    """A new, empty directory: of that name, which may be a path, or of the first free one like `dates-attention-2`."""
    stem = name or default_name(config)
    names = [stem] if name else [stem, *(f"{stem}-{i}" for i in range(2, 10_000))]
    for candidate in names:
        path = locate(candidate, folder)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except FileExistsError as error:
            if not path.exists():  # a parent is a file
                raise SeqgenError(f"cannot make {path}: {path.parent} is not a folder") from error
            continue
        except OSError as error:
            raise SeqgenError(f"cannot make {path}: {error.strerror}") from error
        return path
    raise UsageError(f"{locate(names[-1], folder)} exists; another --name would do, or `seqgen resume {names[-1]}` to go on")


def default_name(config: RunConfig) -> str:
    """dates-attention and the like."""
    d = config.model.decoder
    parts = ["peeky"] * ("summary" in d.inputs + d.outputs) + ["attention"] * bool({*d.inputs, *d.outputs} - {"summary"})
    return "-".join([config.data.task.name, *(parts or ["baseline"])])


def locate(name: str | os.PathLike[str], folder: Path = Path("runs")) -> Path:
    """A path as it is; a bare name under the folder of runs."""
    return folder / name if isinstance(name, str) and os.sep not in name and name not in (".", "..") else Path(name)


def open_run(name: str | os.PathLike[str]) -> Run:
    """Open a run by its path, or by a name under `runs/`. Raises `UsageError` where there is none."""
    for path in (locate(name), Path(name)):
        if (path / "config.json").is_file():
            return Run(path)
    raise UsageError(f"no run at {locate(name)}: it has no config.json")


def structure(path: Path, kind: type) -> Any:
    """Read one of the run's JSON files. Raises `SeqgenError` that names the file and the field."""
    try:
        return CONVERTER.structure(json.loads(path.read_text(encoding="utf-8")), kind)
    except OSError as error:
        raise SeqgenError(f"cannot read {path}: {error.strerror}") from error
    except Exception as error:
        what = "; ".join(cattrs.transform_error(error)) if isinstance(error, cattrs.BaseValidationError) else str(error)
        raise SeqgenError(f"{path}: {what}") from error
