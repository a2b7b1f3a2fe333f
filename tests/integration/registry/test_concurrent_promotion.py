"""Promotions at once, killed half-way, and cut off from their store: at most one wins, and nothing
moves half.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from a2h_models.errors import RegistryError
from pipelines import promotion
from pipelines.config import PromoteCommand, PromoteConfig, RollbackCommand, TrackingConfig
from pipelines.promotion import champion
from pipelines.registry import ModelRegistry, alias_lock
from pipelines.tracking import Tracker

GATES = PromoteConfig(min_clips=1, lower_bounds={"true_pose/psnr": 20.0})
Maker = Callable[..., str]

# A process that has imported everything, and forks for each line that it reads: {uri, logger, at,
# after, lock}. The fork promotes; before or after the function `at` it says so, and waits for a file
# lock that the test holds.
PROMOTER = """
import fcntl, json, os, signal, sys
import mlflow, pandas, pyarrow.parquet, sqlalchemy
from a2h_models.errors import A2HError
from pipelines import promotion
from pipelines.config import TrackingConfig
from pipelines.config import PromoteCommand, PromoteConfig
from pipelines.promotion import champion
from pipelines.promotion.alias import Alias

OWNERS = {"assign_alias": champion, "write_history": Alias}

def say(**values):
    os.write(1, (json.dumps({"pid": os.getpid(), **values}) + "\\n").encode())

def waiting(function, lock, after):
    def wait():
        say(event="waits")
        with open(lock) as handle:
            fcntl.flock(handle, fcntl.LOCK_SH)
    def called(*arguments, **named):
        if not after:
            wait()
        result = function(*arguments, **named)
        if after:
            wait()
        return result
    return called

signal.signal(signal.SIGCHLD, signal.SIG_IGN)
for line in sys.stdin:
    if os.fork():
        continue
    task = json.loads(line)
    owner, at = OWNERS[task["at"]], task["at"]
    setattr(owner, at, waiting(getattr(owner, at), task["lock"], task["after"]))
    gates = PromoteConfig(min_clips=1, lower_bounds={"true_pose/psnr": 20.0})
    try:
        decision = promotion.promote(PromoteCommand(model=task["uri"], promote=gates, logger=TrackingConfig(**task["logger"])))
        say(event="ends", accepted=decision.accepted, reasons=decision.reasons)
    except A2HError as error:
        say(event="fails", message=error.message)
    os._exit(0)
"""


class Promoter:
    """The process, and a file lock that holds its forks up."""

    def __init__(self, lock: Path) -> None:
        words = [sys.executable, "-W", "ignore", "-c", PROMOTER]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.lock = lock.open("w")

    def begin(self, uri: str, store: TrackingConfig, *, at: str, after: bool = False) -> None:
        """Promote in a process of its own, up to the function `at`, or to its end."""
        task = {
            "uri": uri.removeprefix("models:/"),
            "logger": asdict(store),
            "at": at,
            "after": after,
            "lock": self.lock.name,
        }
        self.process.stdin.write(json.dumps(task) + "\n")
        self.process.stdin.flush()

    def read_event(self, event: str) -> dict[str, object]:
        message = json.loads(self.process.stdout.readline())
        assert message["event"] in event, message
        return message

    def hold(self) -> None:
        fcntl.flock(self.lock, fcntl.LOCK_EX)

    def release(self) -> None:
        fcntl.flock(self.lock, fcntl.LOCK_UN)

    def end(self) -> None:
        self.process.stdin.close()
        self.process.wait(120)
        self.process.stdout.close()
        self.lock.close()


@pytest.fixture(scope="session")
def promoter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Promoter]:
    made = Promoter(tmp_path_factory.mktemp("promoter") / "lock")
    yield made
    made.end()


def promote(uri: str, store: TrackingConfig) -> promotion.Decision:
    return promotion.promote(PromoteCommand(model=uri.removeprefix("models:/"), promote=GATES, logger=store))


def current_champion(store: TrackingConfig) -> str:
    return str(ModelRegistry.from_config(store).find("models:/a2h-head-pose@champion"))


def registered(store: TrackingConfig) -> set[str]:
    with Tracker(store).session() as client:
        return {model.name for model in client.search_registered_models()}


def test_of_two_promotions_at_once_exactly_one_wins(
    make_version: Maker, store: TrackingConfig, promoter: Promoter
) -> None:
    """Both have judged, and both find that every gate holds, before either may lock the alias."""
    uris = [make_version(store, 25.0), make_version(store, 26.0)]
    promoter.hold()
    for uri in uris:
        promoter.begin(uri, store, at="assign_alias")
    for _ in uris:
        promoter.read_event("waits")
    promoter.release()
    ended = [promoter.read_event("ends fails") for _ in uris]
    (lost,) = (said for said in ended if said["event"] == "fails")
    assert "champion of a2h-head-pose" in lost["message"]
    assert "is being moved by" in lost["message"] or "in the meantime" in lost["message"]
    holder = ModelRegistry.from_config(store).find(current_champion(store))
    assert json.loads(holder.tags["promotion_decision"])["accepted"] is True
    assert registered(store) == {"a2h-head-pose"}  # no lock is left


def test_a_killed_promotion_leaves_the_old_champion(
    make_version: Maker, store: TrackingConfig, promoter: Promoter
) -> None:
    """SIGKILL between the record of the decision and the move of the alias."""
    first, second, third = (make_version(store, psnr) for psnr in (25.0, 26.0, 27.0))
    promote(first, store)
    promoter.hold()
    promoter.begin(second, store, at="write_history", after=True)
    victim = int(str(promoter.read_event("waits")["pid"]))
    os.kill(victim, signal.SIGKILL)
    promoter.release()
    assert current_champion(store) == first
    assert json.loads(ModelRegistry.from_config(store).find(second).tags["promotion_decision"])["accepted"] is True
    with pytest.raises(RegistryError, match=f"is being moved by .*, process {victim}") as refused:
        promote(third, store)
    assert "if it was killed" in refused.value.hint

    with Tracker(store).session() as client:  # two minutes pass
        client.set_registered_model_tag(
            f"a2h-head-pose.champion{alias_lock.LOCK_MARK}1", "until", repr(time.time() - 1)
        )
    assert promote(third, store).reasons == []
    assert registered(store) == {"a2h-head-pose"}
    # the killed one never was champion
    assert promotion.rollback(RollbackCommand(model="a2h-head-pose", logger=store)).restored == first


def test_a_server_that_dies_leaves_the_old_champion(
    make_version: Maker, served: TrackingConfig, mlflow_server: tuple[object, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program, address = mlflow_server
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    first, second = make_version(served, 25.0), make_version(served, 26.0)
    promote(first, served)
    record = champion.record_decision

    def dies(*arguments: object) -> None:
        record(*arguments)
        program.end(signal.SIGKILL)

    monkeypatch.setattr(champion, "record_decision", dies)
    try:
        with pytest.raises(RegistryError, match=f"the tracking store {address} refused"):
            promote(second, served)
    finally:
        program.start()
    # the first connection after a restart may be one to the server that died
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    assert current_champion(served) == first
