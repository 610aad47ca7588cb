"""A run is a directory: its configuration, vocabulary, log, checkpoints, samples and figures. Here it is made and opened.

config.json  vocabulary.json  versions.json  metrics.jsonl  samples/<step>.txt  checkpoints/  figures/
"""

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from seqgen import evaluation
from seqgen.config import CONVERTER, RunConfig, structure
from seqgen.decoding import generate
from seqgen.errors import SeqgenError, UsageError
from seqgen.files import write
from seqgen.models import model_of
from seqgen.tasks.dataset import Data, Dataset, checksum, load
from seqgen.tasks.task import Layout, Pair, Split, encode, encode_questions, reading_order, render
from seqgen.tasks.vocabulary import DELIMITER, Vocabulary
from seqgen.training import checkpoint, log
from seqgen.training.loop import best_step, resuming
from seqgen.types import Batch, Config, Params
from seqgen.versions import versions


class Attended(NamedTuple):
    """What a model looked at: one row for each character of its answer, in reading order of the question."""

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
        step = self.selected_step()
        try:
            return checkpoint.restore_params(self.path, abstract_params(self.config), step)[1]
        except SeqgenError as error:
            raise SeqgenError(f"{error}; `{resuming(self.path)}` writes the last epoch's again") from error

    def at(self, step: int) -> "Run":
        """The same run with the parameters of another epoch. Raises `SeqgenError` where they were not kept."""
        other = Run(self.path)
        other.dataset, other.params = self.dataset, checkpoint.restore_params(self.path, abstract_params(self.config), step)[1]
        return other

    def selected_step(self) -> int:
        """The step of the selected epoch. Raises `SeqgenError` while there is none."""
        steps = checkpoint.steps(self.path, "params")
        if self.config.training.select == "best":
            epochs = [epoch for epoch in log.epochs(self.path) if epoch["step"] in steps]
            steps = [best_step(epochs)] if epochs else []
        if not steps:
            if (step := log.broken(self.path)) is not None:
                raise SeqgenError(f"{self.path} has no weights: at step {step} its loss or weights were not finite")
            trains = "its sweep's command" if (self.path.parent / "sweep.json").exists() else f"`{resuming(self.path)}`"
            raise SeqgenError(f"{self.path} has no finished epoch yet; {trains} trains it")
        return steps[-1]

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

    def decode(self, questions: Sequence[str]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Greedy answers and what was attended to, as one batch, filled up to a power of two."""
        rows = len(questions)
        filled = [*questions, *[questions[0]] * ((1 << (rows - 1).bit_length()) - rows)]
        source, length = encode_questions(filled, self.vocabulary, self.layout)
        end = evaluation.end_symbol(self.config.model, self.layout)
        limit = self.layout.answer_width + (end is not None)
        made = decode(self.model, self.config.model, limit, end, self.params, source, length)
        return jax.tree.map(lambda leaf: np.asarray(leaf)[:rows], made)

    def predict(self, questions: Sequence[str]) -> list[str]:
        """An answer for each question. Raises `UsageError`, naming the character, for what the run cannot read."""
        if isinstance(questions, str):
            raise UsageError("predict takes a list of questions: [question]")
        block = evaluation.block_rows(max([self.layout.question_width, *map(len, questions)]))
        blocks = [questions[i : i + block] for i in range(0, len(questions), block)]
        return [render(row, self.vocabulary, self.layout) for rows in blocks for row in self.decode(rows)[0]]

    def attention(self, question: str) -> Attended:
        """Where each character of the answer looked. Raises `UsageError` for a model without attention."""
        if not self.attends:
            raise UsageError(f"{self.path} has no attention to show: none of its decoder's readers attends")
        tokens, aux = self.decode([question])
        source, length = encode_questions([question], self.vocabulary, self.layout)
        answer = render(tokens[0], self.vocabulary, self.layout)
        weights = reading_order(aux["attention"][0], source.shape[1] if length is None else length[0], self.layout)
        return Attended(question, answer, weights.swapaxes(0, 1)[:, : len(answer), : len(question)])

    def changes(self) -> list[str]:
        """What is not as it was when the run was made: bit for bit, a resumed run ends the same only where nothing is."""
        made = structure(self.path / "versions.json", dict)
        return [f"{name} {made.get(name)}, now {now}" for name, now in versions().items() if made.get(name) != now]

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
def decode(model: ModuleType, cfg: Config, limit: int, end: int | None, params: Params, source: Any, length: Any) -> Any:
    """Greedy tokens [B, T] and aux, as one program."""
    made = generate(partial(model.step, cfg, params), model.start(cfg, params, source, length), limit=limit, end=end)
    return made.tokens, made.aux


def create(config: RunConfig, name: str | None, folder: Path = Path("runs")) -> Run:
    """Make the directory of a new run. Raises `UsageError` if `name` exists, `SeqgenError` if it cannot be written."""
    config, dataset = complete(config)
    path = claim(folder, name, config)
    try:
        return furnish(path, config, dataset)
    except BaseException:  # Ctrl-C, too
        shutil.rmtree(path, ignore_errors=True)
        raise


def complete(config: RunConfig, load: Callable[[Data], Dataset] = load) -> tuple[RunConfig, Dataset]:
    """A configuration with what comes from its data. Raises `UsageError` where it cannot be trained."""
    if config.data.file is not None:
        file = str(Path(config.data.file).absolute())
        config = replace(config, data=replace(config.data, file=file, sha256=checksum(file)))
    dataset = load(config.data)
    vocabulary = dataset.vocabulary
    model = replace(config.model, vocabulary=len(vocabulary), delimiter=vocabulary.ids[DELIMITER])
    config = replace(config, model=model)
    if len(dataset.splits.train) < config.training.batch:
        raise UsageError(f"--batch {config.training.batch} is more than the {len(dataset.splits.train)} training examples")
    check_size(config)
    return config, dataset


def furnish(path: Path, config: RunConfig, dataset: Dataset) -> Run:
    """Write a run's first files. config.json comes last: a folder that has it is a run."""
    for stem, content in (
        ("vocabulary", CONVERTER.unstructure(_Text(dataset.vocabulary.characters, dataset.layout))),
        ("versions", versions()),
        ("config", CONVERTER.unstructure(config)),
    ):
        write(path / f"{stem}.json", json.dumps(content, indent=1) + "\n")
    run = Run(path)
    run.dataset = dataset
    return run


def abstract_params(config: RunConfig) -> Params:
    """The parameters' shapes and dtypes, without values."""
    return jax.eval_shape(partial(model_of(config.model).init, config.model), jax.random.key(0))


def parameters(config: RunConfig) -> int:
    """How many weights a model has."""
    return sum(leaf.size for leaf in jax.tree.leaves(abstract_params(config)))


def check_size(config: RunConfig) -> None:
    """Raises `UsageError` for a model whose training cannot fit: XLA may hang on one where it should refuse."""
    count = parameters(config)
    needed, memory = 4 * 4 * count, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > memory:  # float32: weights, gradients and Adam's two moments
        sizes = f"{needed / 1e9:,.0f} GB to train, and this machine has {memory / 1e9:,.0f} GB"
        raise UsageError(f"a model of {count:,} parameters takes {sizes}; a smaller --model would do")


def claim(folder: Path, name: str | None, config: RunConfig) -> Path:
    """A new, empty directory: of that name, which may be a path, or of the first free one like `dates-attention-2`."""
    stem = default_name(config)
    names = [stem, *(f"{stem}-{i}" for i in range(2, 10_000))] if name is None else [name]
    for candidate in names:
        path = locate(candidate, folder)
        check_path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir()
        except FileExistsError as error:
            if not path.parent.is_dir():
                raise SeqgenError(f"cannot make {path}: {path.parent} is not a folder") from error
            continue
        except OSError as error:
            raise SeqgenError(f"cannot make {path}: {error.strerror}") from error
        return path
    path = locate(names[-1], folder)
    resume = f", or `{resuming(path)}` to go on" if is_run(path) else ""
    raise UsageError(f"{path} exists; another --name would do{resume}")


def check_path(path: Path) -> None:
    """Raises `UsageError` for a path that Orbax cannot write to."""
    try:
        if b"\0" not in str(path.absolute()).encode():
            return
    except ValueError:
        pass
    raise UsageError(f"cannot make {str(path)!r}: a run's path is UTF-8, without NUL")


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
        if is_run(path):
            return Run(path)
    sweep = "; it is a sweep, and its members are runs" if (locate(name) / "sweep.json").is_file() else ""
    raise UsageError(f"no run at {locate(name)}: it has no config.json{sweep}")


def is_run(path: Path) -> bool:
    """Whether a run was made there."""
    return os.path.isfile(path / "config.json")  # pathlib's own raises for a name that is too long
