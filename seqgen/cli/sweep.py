"""seqgen sweep: every variant of an experiment with every seed, as few compiled programs as
can be.
"""

import importlib
import json
import operator
import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal

import tyro

from seqgen import sweeps
from seqgen.cli.flags import flag, flags_of
from seqgen.cli.parse import call, split_for, until
from seqgen.cli.terminal import SweepTerminal, note, prepare_devices, tell_splits, train_to_end
from seqgen.config import SEEDS, RunConfig
from seqgen.errors import SeqgenError, UsageError
from seqgen.evaluation.statistics import over_seeds
from seqgen.families import family_of, is_run, locate
from seqgen.storage import log, sinks
from seqgen.storage.versions import cores
from seqgen.sweeps.plan import Planned
from seqgen.sweeps.spec import Changes, override
from seqgen.sweeps.state import is_finished
from seqgen.tasks.dataset import Data
from seqgen.training.sharding import MemberAxis
from seqgen.training.signals import stoppable

Repeated = tyro.conf.UseAppendAction


def command(
    module: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="MODULE")],
    /,
    only: Annotated[tuple[tuple[str, ...], ...], Repeated] = (),
    seeds: str | None = None,
    set_: Annotated[tuple[str, ...], tyro.conf.arg(name="set"), Repeated] = (),
    split: Literal["leak-free", "book"] | None = None,
    data: Path | None = None,
    name: str | None = None,
    runs: Path = Path("runs"),
    member_axis: MemberAxis | None = None,
    members_per_batch: int | None = None,
    max_time: str | None = None,
    log_: Annotated[tuple[sinks.SinkName, ...] | None, tyro.conf.arg(name="log")] = None,
    dry_run: Annotated[tyro.conf.FlagCreatePairsOff[bool], tyro.conf.arg()] = False,
) -> None:
    """Train every variant of an experiment with every seed.

    The same command again goes on where it was stopped.

    Args:
        module: what has `base()` and `variants()`, like experiments.addition; the current folder is
            looked in, too.
        only: some variants, by their names.
        seeds: like 0:10 (without the 10) or 0,3,7; by default the module's own SEEDS, or 0:5.
        set_: a field of every variant, like steps=200 or lr=0.002; once for each field.
        split: leak-free (by key) or book (its permutation); by default the module's own, or the
            book's for --data.
        data: a file in the book's format.
        name: the sweep's name under --runs, or a path; by default the module's last word.
        runs: the folder of runs.
        member_axis: members of a device train one after another (map) or as one more axis of every
            operation (vmap); by default map on a CPU.
        members_per_batch: members that train at a time; by default as many as fit in memory.
        max_time: end well after so long, like 40m or 1h30m: what trains is evaluated and saved, and
            the same command goes on.
        log_: where the members' logs go besides metrics.jsonl, in the folder of each.
        dry_run: say what would be trained, and train nothing.

    """
    if members_per_batch is not None and members_per_batch < 1:
        raise UsageError(f"--members-per-batch must be 1 or more, not {members_per_batch}")
    if () in only:
        raise UsageError("--only needs the name of a variant, or several")
    if split == "book" and data is None:
        raise UsageError("--split book needs --data, a file in the book's format")
    sinks.check(log_)
    end, experiment = until(max_time), imported(module)
    asked, placed = assigned(set_), places(split, data)
    if {field.rpartition(".")[2] for field in asked} >= {"steps", "epochs"}:
        raise UsageError("steps and epochs both say how long to train: --set one of the two")
    if twice := asked.keys() & placed.keys():
        raise UsageError(f"{min(twice)!r} is set twice")
    if data and not {"draws", "data.draws"} & asked.keys():
        placed["data.draws"] = Data.draws  # what an experiment says of its draws is not of a file
    changes = asked | placed
    chosen = selected(experiment, [word for words in only for word in words], changes)
    prepare_devices(devices_of(chosen.values()))
    own = getattr(experiment, "SEEDS", range(5))
    wanted = checked(own, f"{module}.SEEDS") if seeds is None else numbers(seeds)
    folder = locate(name or module.rpartition(".")[2], runs)
    planned = sweeps.plan(chosen, wanted, folder)
    options = {"axis": member_axis, "at_once": members_per_batch}
    if dry_run:
        print("\n".join(sweeps.summary(planned, folder, **options)))
        return
    sweeps.parted(planned, member_axis, members_per_batch)  # refuses before anything is told
    new = (member for member in planned if not is_run(member.path))
    tell_splits((member.config, member.dataset) for member in new)
    paths = [member.path for member in planned]
    with stoppable(again()), sinks.following(paths, log_, note) as follow:
        sweeps.sweep(
            planned,
            folder,
            fit=partial(train_to_end, again=again(), until=end, follow=follow),
            note=note,
            reporting=partial(SweepTerminal, follow),
            again=again(),
            until=end,
            **options,
        )
    tell_scores(planned)
    print(folder)


def tell_scores(planned: Sequence[Planned]) -> None:
    """A line for each variant: its final score, the mean over seeds with its 95 % interval."""
    for name, each in groupby(planned, lambda member: member.path.name.rpartition("-")[0]):
        members = list(each)
        family = members[0].family
        ended = [m for m in members if log.broken(m.path) is None and is_finished(m)]
        events = [event for m in ended for event in log.read(m.path) if event.get("final")]
        if not events:
            continue  # none is finished, or all broke off
        event, count = events[0], len(events)
        if count > 1:
            mean, low, high = over_seeds([event[family.metric.name] for event in events])
            event = {**event, family.metric.name: mean, "low": low, "high": high}
        seeds = f"{count} seeds, 95 % interval" if count > 1 else "1 seed"
        note(f"{name} · {event['split']} {family.words(event)[0]} · {seeds}")


def devices_of(configs: Collection[RunConfig]) -> int:
    """One device a core for members that train together, else what a run asks for."""
    if any(family_of(config).stacking is not None for config in configs):
        return cores()
    return max(config.training.devices for config in configs)


def main(arguments: list[str]) -> None:
    """`seqgen sweep MODULE`."""
    call(command, "seqgen sweep", arguments, shown=shown)


def shown(field: str) -> str | None:
    """A field as a sweep takes it: by a flag of its own, or by --set."""
    if flag(field) in flags_of(command):
        return flag(field)
    part, _, leaf = field.partition(".")
    if part in ("training", "hyper"):
        return f"--set {leaf}="
    return f"--set {field}=" if part in ("data", "model") else None


def again() -> str:
    """The command that was given."""
    return shlex.join(["seqgen", *sys.argv[1:]])


def imported(name: str) -> ModuleType:
    """The experiment's module. Raises `UsageError` where there is none, or it is no experiment."""
    sys.path.append(str(Path.cwd()))  # at the end: no file of the user's takes a library's place
    hint = f"; use {name.removesuffix('.py')}, without the .py" if name.endswith(".py") else ""
    module = attempt(
        lambda: importlib.import_module(name), f"cannot import {name!r} from {Path.cwd()}", hint
    )
    for function in ("base", "variants"):
        if not callable(getattr(module, function, None)):
            raise UsageError(
                f"{name} has no {function}(): it is not an experiment that can be swept"
            )
    return module


def attempt(work: Callable[[], Any], what: str, hint: str = "") -> Any:
    """Run a user's own code. Raises `UsageError` for whatever it raises."""
    try:
        return work()
    except SeqgenError as error:
        raise UsageError(f"{what}: {error}{hint}") from error
    except (Exception, SystemExit) as error:
        raise UsageError(f"{what}: {type(error).__name__}: {error}{hint}") from error


def selected(experiment: ModuleType, only: Sequence[str], changes: Changes) -> dict[str, RunConfig]:
    """The variants asked for. Raises `UsageError` for a name that the experiment does not have."""
    name = experiment.__name__
    base, variants = (
        attempt(experiment.base, f"{name}.base()"),
        attempt(experiment.variants, f"{name}.variants()"),
    )
    if not isinstance(base, RunConfig):
        raise UsageError(f"{name}.base() must give a RunConfig, not {base!r}")
    if (
        not isinstance(variants, dict)
        or not variants
        or not all(map(well_formed, variants.items()))
    ):
        raise UsageError(
            f"{name}.variants() must give a dictionary of names and changes, not {variants!r}"
        )
    for word in only:
        if word not in variants:
            raise UsageError(f"no variant {word!r}; there are {', '.join(variants)}")
    whole = {
        variant: config for variant, config in variants.items() if isinstance(config, RunConfig)
    }
    found = {}
    for variant in only or variants:
        own = {} if variant in whole else variants[variant]
        for field in changes.keys() & own.keys():
            raise UsageError(f"{variant!r} sets {field!r} itself: it cannot be set for all")
        try:
            found[variant] = override(whole.get(variant, base), changes | own)
        except SeqgenError as error:
            raise UsageError(f"{variant!r}: {error}", fields=error.fields) from error
    return found


def well_formed(variant: tuple[Any, Any]) -> bool:
    """Whether this is a name and a dictionary of changes, or a configuration of its own."""
    name, changes = variant
    if isinstance(changes, RunConfig):
        return isinstance(name, str)
    return (
        isinstance(name, str)
        and isinstance(changes, dict)
        and all(isinstance(field, str) for field in changes)
    )


def places(split: str | None, data: Path | None) -> Changes:
    """--split and --data as fields."""
    chosen = split_for(data, split)
    changes: Changes = {"data.split": chosen} if chosen else {}
    return changes | ({"data.file": str(data.absolute())} if data else {})


def assigned(words: Iterable[str]) -> Changes:
    """steps=200 as {"steps": 200}: values are JSON, or else text. Raises `UsageError` for a field
    that comes twice.
    """
    changes: Changes = {}
    for word in words:
        field, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"--set needs field=value, not {word!r}")
        if field in changes:
            raise UsageError(f"{field!r} is set twice")
        try:
            changes[field] = json.loads(value)
        except (ValueError, RecursionError):
            changes[field] = value
    return changes


def numbers(words: str) -> list[int]:
    """0:10 or 0,3,7 as numbers. Raises `UsageError` for anything else."""
    if match := re.fullmatch(r"(\d{1,10}):(\d{1,10})", words):
        first, last = int(match[1]), int(match[2])
        return checked(range(first, min(last, first + MOST + 1)), "--seeds", words)
    known = re.fullmatch(r"\d{1,10}(,\d{1,10})*", words)
    return checked([int(word) for word in words.split(",")] if known else [], "--seeds", words)


MOST = 10_000
"""Most seeds of one sweep."""


def checked(seeds: Any, what: str, words: str | None = None) -> list[int]:
    """Seeds as a list. Raises `UsageError` unless they are distinct ones of `SEEDS`.

    Args:
        seeds: whatever can be iterated over.
        what: where they come from, for the error.
        words: how they were given; None: as they are.

    """
    found = attempt(lambda: [operator.index(seed) for seed in seeds], what)
    if not 0 < len(found) == len(set(found)) <= MOST or not all(seed in SEEDS for seed in found):
        empty = ", which has no seed" if words and not found and ":" in words else ""
        raise UsageError(
            f"{what} must be like 0:10 or 0,3,7, not {seeds if words is None else words!r}{empty}"
        )
    return found
