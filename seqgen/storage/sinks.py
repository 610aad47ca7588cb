"""Where a run's log goes besides metrics.jsonl: TensorBoard, Weights & Biases, trackio.

A sink is told what metrics.jsonl has, line by line, and nothing else. Each process that follows a
log tells it from the start, to a sink that takes the place of an older one: what a kill kept from
a sink is there again, and what was logged after the last saved state is there once.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from seqgen.errors import SeqgenError, UsageError
from seqgen.storage import log, manifest
from seqgen.storage.log import Event

SinkName = Literal["tensorboard", "wandb", "trackio"]

MOST_OPEN = 200
"""Sinks that are open at a time; further members of a sweep are told of when others have ended."""


class Sink(NamedTuple):
    """Takes events, each with its step."""

    tell: Callable[[Event], None]
    close: Callable[[], None]


def scalars(event: Event) -> dict[str, float]:
    """An event's numbers by name: train/loss, validation/loss; of the last test final_test/loss."""
    part = event.get("split", event["event"])
    part = f"final_{part}" if event.get("final") else part
    numbers = {
        f"{part}/{name}": value
        for name, value in event.items()
        if name != "step" and isinstance(value, int | float) and not isinstance(value, bool)
    }
    return numbers or {part: 1}


def tensorboard(run: Path, config: dict[str, Any]) -> Sink:
    """RUN/tensorboard/, one file of events.

    tensorboardX's own SummaryWriter writes from a thread, and waits without end for one that died.
    """
    summary: Any = import_module("tensorboardX.summary")
    files: Any = import_module("tensorboardX.event_file_writer")
    protocol: Any = import_module("tensorboardX.proto.event_pb2")
    shutil.rmtree(run / "tensorboard", ignore_errors=True)
    (run / "tensorboard").mkdir()
    writer = files.EventsWriter(str(run / "tensorboard" / "events"))

    def put(step: int, found: Any) -> None:
        writer.write_event(protocol.Event(wall_time=time.time(), step=step, summary=found))
        writer.flush()

    def tell(event: Event) -> None:
        for name, value in scalars(event).items():
            put(event["step"], summary.scalar(name, value))

    put(0, summary.text("config", f"```\n{json.dumps(config, indent=1)}\n```"))
    return Sink(tell, writer.close)


def wandb(run: Path, config: dict[str, Any]) -> Sink:
    """RUN/wandb/, offline; `wandb sync` sends it. It keeps its id when it is written anew."""
    library: Any = import_module("wandb")
    old = sorted((run / "wandb").glob("offline-run-*"))
    shutil.rmtree(run / "wandb", ignore_errors=True)
    sweep = manifest.sweep_of(run)
    made = library.init(
        project="seqgen",
        name=run.name,
        group=sweep and sweep.name,
        id=old[-1].name.rpartition("-")[2] if old else None,
        dir=str(run),
        mode="offline",
        config=config,
        reinit="create_new",
        settings=library.Settings(
            silent=True, console="off", disable_git=True, save_code=False, x_disable_stats=True
        ),
    )
    return Sink(lambda event: made.log(scalars(event), step=event["step"]), made.finish)


def trackio(run: Path, config: dict[str, Any]) -> Sink:
    """RUN/trackio/, or SWEEP/trackio/ with a run for each member: a process has one such folder.

    `trackio.init` would end the member before, and write to standard output.
    """
    sweep = manifest.sweep_of(run)
    folder = (sweep or run).absolute() / "trackio"
    os.environ["TRACKIO_DIR"] = str(folder)  # it is read when trackio is imported
    library: Any = import_module("trackio")
    if folder != library.TRACKIO_DIR:
        raise SeqgenError(f"trackio writes to {library.TRACKIO_DIR} in this process")
    with suppress(ValueError):  # no run is there yet
        for old in library.Api().runs("seqgen"):
            if old.name == run.name:
                old.delete()
    made = library.Run(
        None, "seqgen", None, name=run.name, group=sweep and sweep.name, config=config
    )

    def close() -> None:
        with redirect_stdout(None):  # results go there
            made.finish()

    return Sink(lambda event: made.log(scalars(event), step=event["step"]), close)


SINKS: dict[SinkName, Callable[[Path, dict[str, Any]], Sink]] = {
    "tensorboard": tensorboard,
    "wandb": wandb,
    "trackio": trackio,
}
"""What opens a sink for a run's directory and what its config.json says."""

MODULES: dict[SinkName, str] = {
    "tensorboard": "tensorboardX",
    "wandb": "wandb",
    "trackio": "trackio",
}


def check(names: Collection[SinkName] | None) -> None:
    """Raises `SeqgenError` for a sink whose library is not installed, `UsageError` for none."""
    if names is not None and not names:
        raise UsageError(f"log needs one or more of {', '.join(SINKS)}", fields=("log",))
    for name in names or ():
        if find_spec(MODULES[name]) is None:
            raise SeqgenError(
                f"log {name} needs {MODULES[name]}, which is not installed: "
                f"pip install 'seqgen[{name}]'",
                fields=("log",),
            )


class Follower:
    """Tells one sink of one run's log.

    Args:
        run: its directory.
        name: the sink's.
        note: is told once where the sink fails; training goes on without it.

    """

    def __init__(self, run: Path, name: SinkName, note: Callable[[str], None]) -> None:
        self.run, self.name, self.note = run, name, note
        self.sink: Sink | None = None
        self.ended = False
        self.file, self.told = 0, 0

    def catch_up(self) -> None:
        """Tell what is new in the log; where it was cut back, all of it, to a new sink."""
        if self.ended:
            return
        try:
            events = self.fresh()
            for event in events:
                assert self.sink is not None
                self.sink.tell(event)
            if any(event.get("final") or event["event"] == "broken" for event in events):
                assert self.sink is not None
                self.sink.close()
                self.sink = None  # another one, if the run goes on after all
        except Exception as error:  # whatever a library raises
            self.ended = True
            self.note(f"{self.run}: {self.name} is told no more: {type(error).__name__}: {error}")

    def fresh(self) -> list[Event]:
        """The events that the sink was not told of; it is opened before the first of them."""
        try:
            with open(log.path(self.run), "rb") as file:
                if self.file != (inode := os.fstat(file.fileno()).st_ino):  # new, or cut back
                    self.file, self.told = inode, 0
                file.seek(self.told)
                lines = file.read()
        except FileNotFoundError:
            return []
        whole = lines[: lines.rfind(b"\n") + 1]
        if whole and self.sink is None and self.told:
            self.told = 0
            return self.fresh()
        if whole and self.told == 0:
            if self.sink is not None:
                self.sink.close()
            config = manifest.read_json(self.run / "config.json")
            self.sink = SINKS[self.name](self.run, config)
        self.told += len(whole)
        events = [log.parse(line.decode()) for line in whole.splitlines()]
        return [{name: event[name] for name in event if name != "crc32"} for event in events]

    def close(self) -> None:
        """For good."""
        sink, self.sink, self.ended = self.sink, None, True
        if sink is not None:
            with suppress(Exception):  # of a sink that failed before
                sink.close()


@contextmanager
def following(
    runs: Sequence[Path], names: Collection[SinkName] | None, note: Callable[[str], None]
) -> Generator[Callable[[], None]]:
    """Gives a function that tells sinks what is new in the logs of runs; to be called now and then.

    In the end they are told all, and closed; after an error those alone that were told before.

    Args:
        runs: their directories.
        names: of the sinks that each has.
        note: is told of sinks that fail.

    """
    followers = [Follower(run, name, note) for run in runs for name in dict.fromkeys(names or ())]

    def follow() -> None:
        opened = sum(each.sink is not None for each in followers)
        for follower in followers:
            before = follower.sink is not None
            if before or opened < MOST_OPEN:
                follower.catch_up()
                opened += (follower.sink is not None) - before

    ended = False
    try:
        yield follow
        ended = True
    finally:
        for follower in followers:
            if ended or follower.sink is not None:
                follower.catch_up()
            follower.close()
