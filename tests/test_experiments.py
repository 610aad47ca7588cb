"""The experiments ask what they say they ask, and their breakdowns add up."""

import importlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments import alignment, errors, formats, length, records
from seqgen.cli import main
from seqgen.cli.sweep import selected
from seqgen.errors import SeqgenError
from seqgen.families import accept, flat, open_run, parameters
from seqgen.sweeps import state
from seqgen.sweeps.plan import plan, shared_programs
from seqgen.sweeps.spec import override

SWEEPS = {  # cells, seeds, compiled programs, model-steps
    "addition": (8, 10, 4, 702_000),
    "dates": (4, 5, 3, 70_200),
    "alignment": (1, 5, 1, 17_550),
    "length": (8, 5, 4, 351_000),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_is_as_large_as_it_says(name, tmp_path):
    """Fails when a cell is lost, cells of one shape compile apart, or the rows no longer make 351
    steps an epoch.
    """
    experiment = importlib.import_module(f"experiments.{name}")
    planned = plan(selected(experiment, (), {}), list(experiment.SEEDS), tmp_path)
    programs = shared_programs(planned)
    steps = sum(program.steps * len(program.members) for program in programs)
    cells, seeds = len(experiment.variants()), len(experiment.SEEDS)
    assert (cells, seeds, len(programs), steps) == SWEEPS[name]


def test_cells_of_addition_differ_in_what_they_are_named_for(tmp_path):
    """Fails when a cell reverses without its name, or its attention mechanisms are another's."""
    experiment = importlib.import_module("experiments.addition")
    for name, config in selected(experiment, (), {}).items():
        fields = flat(config)
        assert fields["data.reverse"] == name.endswith("reverse")
        assert ("context" in fields["model.decoder.inputs"]) == ("peeky" in name)
        assert ("dot" in fields["model.decoder.outputs"]) == ("attention" in name)


@pytest.mark.parametrize("name", ["search_addition", "search_dates"])
def test_a_search_stays_within_its_bounds(name, tmp_path):
    """Fails when a variant has more parameters or epochs than are allowed, or is chosen by test
    rows.
    """
    experiment = importlib.import_module(f"experiments.{name}")
    assert min(experiment.SEEDS) >= 100
    for program in shared_programs(plan(selected(experiment, (), {}), [100], tmp_path)):
        assert parameters(program.config.model, program.dataset.sizes) <= 220_000
        assert program.config.training.epochs <= 25
        assert program.evaluation_split == "validation"


@pytest.mark.parametrize(
    ("question", "chain"),
    [
        ("123+456", 0),
        ("5+5", 1),
        ("95+5", 2),
        ("999+1", 3),
        ("1+999", 3),
        ("505+505", 1),
        ("0+0", 0),
        ("45+46", 1),
        ("950+55", 2),
    ],
)
def test_carry_chains(question, chain):
    """Fails when a carry that arises apart from another counts with it, or one that only passes on
    does not count.
    """
    a, b = map(int, question.split("+"))
    assert errors.carry_chain((question, str(a + b)), "") == str(chain)


@pytest.mark.parametrize(
    ("answer", "guess", "row"),
    [
        ("425", "425", "none"),
        ("425", "426", "units"),
        ("425", "515", "tens + hundreds"),
        ("1425", "425", "length"),
        ("5", "", "length"),
    ],
)
def test_wrong_places(answer, guess, row):
    """Fails when places are counted from the left, or a guess of another length is compared place
    by place.
    """
    assert errors.places(("", answer), guess) == row


def test_errors_add_up(attention_run):
    """Fails when a question falls into no row of a table, or into two."""
    run = open_run(attention_run)
    found, scores = errors.measured(run), run.evaluate()
    wrong, rows = found["wrong"], found["rows"]
    assert rows == scores.examples
    assert wrong == round((1 - scores.exact_match) * rows) > 0
    for name in ("longest carry chain", "wrong places", "operands' digits"):
        assert np.sum(list(found[name].values()), axis=0).tolist() == [wrong, rows]


def test_longer_sums(attention_run, monkeypatch):
    """Fails when a length's score counts another's rows, a sum is wrong, or a training row is
    asked.
    """
    run = open_run(attention_run)
    monkeypatch.setattr(length, "TRAINED", 2)
    monkeypatch.setattr(length, "ROWS", 50)
    asked = length.questions(run)
    assert [len(asked[digits]) for digits in range(3, 9)] == [50] * 6
    for digits, pairs in asked.items():
        for question, answer in pairs:
            a, b = question.split("+")
            assert max(len(a), len(b)) == digits
            assert answer == str(int(a) + int(b))
    found = length.measured(run)
    assert sum(rows for right, rows in found.values()) == sum(map(len, asked.values()))
    right = sum(found[str(digits)][0] for digits in (1, 2))
    assert right == round(run.evaluate().exact_match * len(run.pairs("test")))
    assert not {pair for pairs in asked.values() for pair in pairs} & set(run.pairs("train"))


def test_alignment_of_a_run(attention_run):
    """Fails when the shuffled attention is the trained one, or controls are of another split."""
    run = open_run(attention_run)
    found, fixed = alignment.measured(run), alignment.controls(run)
    trained, mixed = found["trained"]["column"], found["shuffled"]["column"]
    assert trained["entropy"] == pytest.approx(mixed["entropy"], abs=1e-5)
    assert trained["mass"] != pytest.approx(mixed["mass"], abs=0.01)
    assert trained["positions"] == mixed["positions"] == fixed["oracle"]["column"]["positions"]
    assert len(run.pairs("test")) < trained["positions"] != len(run.pairs("validation"))
    assert fixed["oracle"]["all"]["hit"] == 1
    formula = pytest.approx(fixed["uniform_by_formula"]["column"], abs=1e-5)
    assert fixed["uniform"]["column"]["mass"] == formula


@pytest.mark.parametrize(
    ("reverse", "delays"),
    [
        (False, {"before": 0.25, "0": 0.25, "1": 0, "2": 0.25, "3": 0, "later": 0.25}),
        (True, {"before": 0.5, "0": 0.25, "1": 0.25, "2": 0, "3": 0, "later": 0}),
    ],
)
def test_delays(reverse, delays):
    """Fails when a late look counts as an early one, reversed or not, or a character with two
    places counts.
    """
    looked, gold = np.array([0, 1, 4, 7, 7]), np.zeros((1, 5, 8), bool)
    for time, place in enumerate([1, 1, 2, 3]):
        gold[0, time, place] = True
    gold[0, 4, [2, 5]] = True
    assert alignment.by_delay(np.eye(8)[looked][None], gold, reverse) == delays


def test_what_is_missed_without_a_look():
    """Fails when places that are not asked for count, or a place's frequencies are another's."""
    targets = np.array([[1, 2, 7], [1, 3, 7], [1, 4, 7], [2, 4, 7]])
    asked = np.array([[1, 1, 0], [1, 1, 0], [1, 0, 0], [1, 1, 0]], bool)
    missed = [0.25, pytest.approx(2 / 3, abs=1e-6)]
    assert alignment.not_most_frequent(targets, asked[..., None]) == missed


@pytest.fixture
def small(monkeypatch):
    """The experiment on formats that only the test split has, smaller."""
    made_smaller(monkeypatch)


def made_smaller(patch: pytest.MonkeyPatch) -> None:
    sides = dict.fromkeys(("model.encoder.hidden", "model.decoder.hidden"), 12)
    base = override(formats.base(), {"draws": 900, "steps": 3, **sides})
    variants = {f"without-{name}": {"test_only_formats": [name]} for name in ("short", "full")}
    patch.setattr(formats, "base", lambda: base)
    patch.setattr(formats, "variants", lambda: variants)
    patch.setattr(formats, "SEEDS", range(2))


@pytest.fixture(scope="module")
def formats_runs(tmp_path_factory) -> Path:
    """The folder of its sweep."""
    runs = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        made_smaller(patch)
        assert main(["sweep", "experiments.formats", "--runs", str(runs)]) == 0
    return runs


@pytest.mark.slow
def test_a_test_only_format_and_its_record(small, formats_runs):
    """Fails when training rows are in the format, its test rows count with the others, or a record
    loses a seed.
    """
    run = open_run(formats_runs / "formats" / "without-short-1")
    formats_of = {
        split: {run.dataset.task.format(question) for question, _ in run.pairs(split)}
        for split in ("train", "validation")
    }
    others = {"medium", "long", "full"}
    assert formats_of == {"train": others, "validation": others}
    counts = formats.measured(run)
    assert sum(rows for _, rows in counts.values()) == len(run.pairs("test"))
    assert min(rows for _, rows in counts.values()) > 0
    record = formats.collect(formats_runs)
    seeds_of = {name: list(seeds) for name, seeds in record["cells"].items()}
    assert seeds_of == {"without-short": ["0", "1"], "without-full": ["0", "1"]}
    curves = records.sweep_record(formats_runs / "formats")["cells"]["without-short"]["1"]
    assert (curves["split"], len(curves["exact_match"])) == ("validation", 1)
    assert curves["test_examples"] == len(run.pairs("test"))


@pytest.mark.slow
def test_a_record_of_another_sweep_is_refused(small, formats_runs, tmp_path, monkeypatch):
    """Fails when a table is made of the members that happen to be there, of settings of somebody's
    own, or of two versions.
    """
    folder = tmp_path / "formats"
    with pytest.raises(SeqgenError, match="holds no sweep"):
        records.members(folder)
    shutil.copytree(formats_runs / "formats", folder)
    for member in folder.glob("*-0"):
        shutil.rmtree(member)
    listed = json.loads((folder / "sweep.json").read_text())
    listed["members"] = [name for name in listed["members"] if name.endswith("-1")]
    (folder / "sweep.json").write_text(json.dumps(listed))
    state.accept(folder)
    missing = r"has no without-short-0, nor 1 others of experiments.formats"
    with pytest.raises(SeqgenError, match=missing):
        records.members(folder)
    monkeypatch.setattr(formats, "SEEDS", [1])
    seeds_of = {name: list(seeds) for name, seeds in records.members(folder).items()}
    assert seeds_of == {"without-short": ["1"], "without-full": ["1"]}
    with monkeypatch.context() as patch:
        base = override(formats.base(), {"lr": 0.5})
        patch.setattr(formats, "base", lambda: base)
        other = r"without-short-1 is no member of experiments.formats: its hyper.lr is 0.008"
        with pytest.raises(SeqgenError, match=other):
            records.members(folder)
    monkeypatch.setattr(alignment, "MODELS", {"ours": ("formats", "6-epochs")})
    with pytest.raises(SeqgenError, match=r"formats has no 6-epochs that did not break off"):
        alignment.collect(tmp_path)
    versions = folder / "without-full-1" / "versions.json"
    versions.write_text(versions.read_text().replace('"cores": ', '"cores": 9'))
    accept(versions.parent)
    mixed = r"without-full-1 was made with other versions than .*without-short-1"
    with pytest.raises(SeqgenError, match=mixed):
        records.sweep_record(folder)
    sweep = json.loads((folder / "sweep.json").read_text())
    more = {**sweep, "members": [*sweep["members"], "without-full-7"]}
    (folder / "sweep.json").write_text(json.dumps(more))
    state.accept(folder)
    with pytest.raises(SeqgenError, match="without-full-7 is not finished"):
        records.members(folder)


def test_a_search_says_nothing_of_the_test_set():
    """Fails when a search's record has the scores on which nothing may be chosen."""
    for name in ("search_addition", "search_dates"):
        runs = [run for seeds in records.load(name)["cells"].values() for run in seeds.values()]
        assert not any("test" in run for run in runs)
        assert {run["split"] for run in runs if "split" in run} == {"validation"}


def test_results_name_their_machine():
    """Fails when a result is committed without its command, versions or machine, or with a path of
    somebody's machine.
    """
    for path in sorted(records.FOLDER.glob("*.json")):
        record = json.loads(path.read_text())
        for each in [record] if "command" in record else list(record.values()):
            assert {"command", "machine", "versions"} <= each.keys(), path
        assert not re.search(r'["\s=]/\w', path.read_text()), path
