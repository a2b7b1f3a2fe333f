"""The same promises on an object store: an S3 server on this machine, whole and failing."""

from __future__ import annotations

import datetime as dt
import itertools
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from a2h_models.errors import FailedError, InputError
from pipelines.core.storage import Storage
from pipelines.maintenance.remove import forget
from pipelines.maintenance.resplit import split
from pipelines.maintenance.verify import verify
from pipelines.prepare import pipeline
from pipelines.prepare.output import ledger
from pipelines.prepare.pipeline import prepare

pytestmark = [
    pytest.mark.slow,
    # connections of the store's client end with its event loop
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

OUTAGE = 10**9  # requests


class Weather:
    """Stands before the store, and answers in its place: every `storm`-th request with an error, as
    an overloaded store does.
    """

    def __init__(self, app: Any) -> None:
        self.app, self.storm, self.refused = app, 0, 0
        self._lock, self._numbers = threading.Lock(), itertools.count(1)

    def __call__(self, environment: dict[str, Any], start: Any) -> Any:
        with self._lock:
            refuse = bool(self.storm) and (self.storm == 1 or next(self._numbers) % self.storm == 0)
            self.refused += refuse
        if not refuse:
            return self.app(environment, start)
        body = b"<Error><Code>ServiceUnavailable</Code><Message>try again</Message></Error>"
        environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        start("503 Service Unavailable", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]


@pytest.fixture(scope="module")
def weather() -> Iterator[Weather]:
    """An S3 server, and the environment in which libraries find it."""
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    before = Weather(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, before, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        Storage("s3://data").fs.mkdir("data")
        yield before
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def fair(weather):
    weather.storm = weather.refused = 0


@pytest.fixture
def bucket(weather, request) -> Storage:
    return Storage(f"s3://data/{request.node.name}")


def shards(dataset: Storage) -> dict[str, bytes]:
    return {name: dataset.read(name) for name in dataset.names("a2h-*")}


def uploads(store: Storage) -> list[dict]:
    return store.fs.call_s3("list_multipart_uploads", Bucket="data").get("Uploads", [])


def test_what_is_published_is_read_back(bucket):
    bucket.publish("a/b.bin", b"123")
    assert bucket.read("a/b.bin") == b"123"
    assert (bucket.exists("a/b.bin"), bucket.exists("a/c.bin")) == (True, False)
    with bucket.local_copy("a/b.bin") as path:
        assert path.read_bytes() == b"123"
    with bucket.open("a/b.bin") as handle:
        handle.seek(1)
        assert handle.read() == b"23"
    with pytest.raises(InputError, match=r"a/c\.bin does not exist"):
        bucket.read("a/c.bin")


def test_a_listing_is_never_an_old_one(bucket):
    assert bucket.names("*") == []
    Storage(bucket.url).publish("a.bin", b"1")
    assert bucket.names("*") == ["a.bin"]


@pytest.mark.parametrize("megabytes", [1, 60])  # one request, or several
def test_an_interrupted_writer_leaves_what_was_there_and_no_upload_that_is_paid_for(bucket, megabytes):
    bucket.publish("a.bin", b"old")

    def write_half():
        with bucket.writer("a.bin") as handle:
            for _ in range(megabytes):
                handle.write(bytes(2**20))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert bucket.read("a.bin") == b"old"
    assert uploads(bucket) == []


def test_two_files_written_side_by_side_do_not_end_each_other(bucket):
    with bucket.writer("long.bin") as long:
        long.write(b"1")
        with bucket.writer("short.bin") as short:
            short.write(b"2")
        assert bucket.names("*") == ["short.bin"]
        long.write(b"3")
    assert (bucket.read("long.bin"), bucket.read("short.bin")) == (b"13", b"2")


def test_what_a_killed_writer_left_is_removed(bucket):
    handle = bucket.fs.open(bucket.path("a.bin"), "wb", autocommit=False, block_size=6 * 2**20)
    for _ in range(12):
        handle.write(bytes(2**20))
    assert len(uploads(bucket)) == 1
    assert bucket.remove_parts() == ["a.bin"]
    assert uploads(bucket) == []
    handle.closed = True  # its writer is dead


def test_a_store_that_fails_every_third_request_is_asked_again(bucket, weather):
    weather.storm = 3
    for number in range(6):
        bucket.publish(f"{number}.bin", bytes([number]))
    assert [bucket.read(name) for name in bucket.names("*")] == [bytes([number]) for number in range(6)]
    assert weather.refused > 5


def test_a_store_that_is_down_is_one_sentence(bucket, weather, monkeypatch):
    monkeypatch.setitem(bucket.fs.config_kwargs, "retries", {"mode": "standard", "max_attempts": 2})
    bucket.fs.connect(refresh=True)
    weather.storm = 1
    with pytest.raises(FailedError, match=r"s3://data/.* cannot be read") as caught:
        bucket.read("a.bin")
    assert "is the store up" in caught.value.hint
    with pytest.raises(FailedError, match=r"cannot write s3://data/.*a\.bin"):
        bucket.publish("a.bin", b"1")


def test_a_preparation_from_store_to_store_through_bad_weather_gives_the_same_bytes(
    talks, prepared, weather, tmp_path, make_command
):
    videos, out = Storage("s3://data/videos"), Storage("s3://data/out")
    for path in talks.iterdir():
        videos.publish(path.name, path.read_bytes())
    weather.storm = 3
    command = make_command(videos.url, tmp_path / "none")
    command.out = out.url
    prepare(command)
    assert shards(out) == shards(Storage(prepared))
    report = verify(out.url, clean=True)
    assert report.sound, str(report)
    assert weather.refused > 10
    assert uploads(out) == []


def test_a_run_on_a_store_that_was_interrupted_goes_on(talks, prepared, tmp_path, make_command, monkeypatch, weather):
    out = Storage("s3://data/resumed")
    command = make_command(talks, tmp_path / "none")
    command.out = out.url
    build, built = pipeline.build_shard, []

    def build_one(unit, **options):
        if built:
            raise KeyboardInterrupt
        built.append(unit.shard)
        return build(unit, **options)

    monkeypatch.setattr(pipeline, "build_shard", build_one)
    with pytest.raises(KeyboardInterrupt):
        prepare(command)
    assert out.names("a2h-*.tar") == [f"{built[0]}.tar"]
    monkeypatch.setattr(pipeline, "build_shard", build)
    prepare(command)
    assert shards(out) == shards(Storage(prepared))
    assert len(ledger.records(ledger.read(out))) == len(ledger.records(ledger.read(Storage(prepared))))


def test_people_are_forgotten_and_splits_redrawn_on_a_store_through_bad_weather(dataset, bucket, weather):
    """Byte for byte what the same calls make of a folder."""
    there, day = Storage(f"{bucket.url}/made"), dt.date(2026, 1, 2)
    for path in filter(Path.is_file, dataset.rglob("*")):
        there.publish(path.relative_to(dataset).as_posix(), path.read_bytes())
    weather.storm = 20
    for store in (there, Storage(dataset)):
        assert forget(store.url, identity="ann", on=day).videos == 4
        split(store.url, f"{store.url}-again", val_share=0.3, test_share=0.3, seed=5)
    assert weather.refused > 10
    for name in ("", "-again"):
        assert shards(Storage(f"{there.url}{name}")) == shards(Storage(f"{dataset}{name}"))
        assert verify(f"{there.url}{name}", deep=1).sound
    assert uploads(bucket) == []
