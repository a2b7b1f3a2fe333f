"""Three real stores (a local database, a server, PostgreSQL), and a dataset small enough to promote by."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines import registry
from pipelines.config import LoggerConfig
from pipelines.dataset import shards
from pipelines.dataset.sources import read_origin
from pipelines.prepare.summary import fingerprint_of
from pipelines.storage import Storage

FEATURES = {"f0": "harvest", "pose_smoothing_frames": 1.0}
STOP_S = 120  # for a server to end, also on a busy machine
RIGHTS = {"licence": "CC-BY 4.0", "consent": "yes"}
ANN, EVE = "a" * 64, "e" * 64  # SHA-256 of the videos of two people


# -------------------------------------------------------------------------------- a server
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Program:
    """A server process that can be killed and started again. A line of its output says that it is ready."""

    def __init__(self, words: list[str], *, ready: str, stop: signal.Signals = signal.SIGTERM, **options: object) -> None:
        self.words, self.ready, self.stop, self.options = words, ready, stop, options
        self.start()

    def start(self) -> None:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self.process = subprocess.Popen(self.words, start_new_session=True, **pipes, **self.options)
        seen = []
        for line in self.process.stdout:
            seen.append(line.decode(errors="replace"))
            if self.ready in seen[-1]:
                self.reader = threading.Thread(target=self._drain)  # a full pipe would stop the server
                self.reader.start()
                return
        raise RuntimeError(f"{self.words[0]} ended with {self.process.wait()}:\n{''.join(seen)}")

    def _drain(self) -> None:
        with self.process.stdout as pipe:
            for _ in pipe:
                pass

    def end(self, how: signal.Signals | None = None) -> None:
        os.killpg(self.process.pid, how or self.stop)  # `mlflow server` is two processes
        self.process.wait(STOP_S)
        self.reader.join(STOP_S)


@pytest.fixture(scope="session")
def mlflow_server(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Program, str]]:
    """`mlflow server` on sqlite, with its own artefacts, and its address."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder / "mlflow.db")
    port = free_port()
    words = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    words += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "artifacts")]
    environment = os.environ | {"PYTHONWARNINGS": "ignore", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    program = Program(words, ready="Application startup complete", cwd=folder, env=environment)
    yield program, f"http://127.0.0.1:{port}"
    program.end()


@pytest.fixture
def served(mlflow_server: tuple[Program, str], tmp_path: Path) -> LoggerConfig:
    """The server, without models."""
    logger = LoggerConfig(tracking_uri=mlflow_server[1], artifacts="", cache=str(tmp_path / "cache"), experiment="tests")
    with registry.session(logger) as client:
        for model in client.search_registered_models():
            client.delete_registered_model(model.name)
    return logger


# -------------------------------------------------------------------------------- PostgreSQL
def postgresql_programs() -> Path:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    pytest.skip("no PostgreSQL here: neither initdb on the path nor /usr/lib/postgresql/*/bin")


def unprivileged() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.getuid():
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("no PostgreSQL here: it refuses to run as root, and there is no other user")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The address of a PostgreSQL whose database `template` has MLflow's tables."""
    pytest.importorskip("psycopg", reason="no driver for PostgreSQL: the extra postgresql")
    programs, user = postgresql_programs(), unprivileged()
    with tempfile.TemporaryDirectory(prefix="a2h-postgresql-") as name:  # pytest's own folders are closed to other users
        folder = Path(name)
        if user:
            shutil.chown(folder, user)
        options = {"user": user, "cwd": folder, "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"}}
        words = [programs / "initdb", "-D", folder / "data", "-U", "a2h", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(list(map(str, words)), check=True, capture_output=True, **options)
        port = free_port()
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": str(folder), "fsync": "off", "port": str(port)}
        words = [programs / "postgres", "-D", folder / "data", *(f"--{key}={value}" for key, value in settings.items())]
        stop = signal.SIGINT  # does not wait for clients: MLflow keeps its connections as long as the process lives
        server = Program(list(map(str, words)), ready="ready to accept connections", stop=stop, **options)
        address = f"postgresql://a2h@127.0.0.1:{port}"
        try:
            database(address, "CREATE DATABASE template")
            with registry.session(LoggerConfig(tracking_uri=f"{address}/template", artifacts="", cache="", experiment="tests")) as client:
                client.search_registered_models()
            database(address, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'template'")
            yield address
        finally:
            server.end()


def database(address: str, command: str) -> None:
    import psycopg

    with psycopg.connect(f"{address}/postgres", autocommit=True) as connection:
        connection.execute(command)


@pytest.fixture
def in_postgresql(postgresql: str, tmp_path: Path) -> LoggerConfig:
    """A database of the test's own."""
    name = f"test_{abs(hash(str(tmp_path)))}"
    database(postgresql, f"CREATE DATABASE {name} TEMPLATE template")
    return LoggerConfig(
        tracking_uri=f"{postgresql}/{name}",
        artifacts=str(tmp_path / "artifacts"),
        cache=str(tmp_path / "cache"),
        experiment="tests",
    )


# -------------------------------------------------------------------------------- every store
@pytest.fixture(params=["tracking", "served", "in_postgresql"], ids=["sqlite", "server", "postgresql"])
def store(request: pytest.FixtureRequest) -> LoggerConfig:
    """An empty store of each kind."""
    return request.getfixturevalue(request.param)


# -------------------------------------------------------------------------------- a dataset
@pytest.fixture(scope="session")
def paper_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that holds nothing but its papers: ann in train, eve in test, two clips each, with licence and consent."""
    folder = tmp_path_factory.mktemp("data") / "paper"
    out, hashes = Storage(folder), {}
    for split, identity, sha256 in (("train", "ann", ANN), ("test", "eve", EVE)):
        keys = [f"{identity}-0", f"{identity}-1"]
        sidecar = shards.write_shard(
            out,
            shards.shard_name(split, 0),
            [shards.Encoded(key=key, members={"json": b"{}"}) for key in keys],
            split=split,
            unit=f"unit-{split}",
            plan="plan",
            ledger=[
                {"kind": "clip", "key": key, "sha256": sha256, "file": f"{identity}.mp4", "identity": identity, **RIGHTS} for key in keys
            ],
            frames=dict.fromkeys(keys, 64),
            identities=dict.fromkeys(keys, identity),
        )
        hashes[sidecar.shard] = sidecar.sha256
    described = {"fingerprint": fingerprint_of(hashes), "features_version": 1, "config": {"features": FEATURES}}
    out.publish("dataset.json", json.dumps(described).encode())
    return folder


@pytest.fixture(scope="session")
def fingerprint(paper_dataset: Path) -> str:
    return json.loads((paper_dataset / "dataset.json").read_text())["fingerprint"]


@pytest.fixture
def make_version(paper_dataset: Path, fingerprint: str, tmp_path: Path):
    """A maker of registered versions with an evaluation; any registered model can be promoted, so a stage stands for the bundle."""
    import pandas as pd

    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "head_pose.safetensors").write_bytes(b"not really weights")

    def make(store: LoggerConfig, psnr: float | list[float], *, tags: dict[str, str] | None = None, **changes: object) -> str:
        values = psnr if isinstance(psnr, list) else [psnr - 0.1, psnr + 0.1]
        speed = changes.pop("speed", 0.5)
        origin = changes.pop("origin", read_origin(str(paper_dataset), fingerprint, split="train"))
        run_id = registry.open_run(store, run_name="training")
        made = registry.register_stage(
            weights,
            "head_pose",
            run_id=run_id,
            tags={"dataset_fingerprint": fingerprint, "git_sha": "c" * 40, "code_clean": "true", **(tags or {})},
            identities=["ann"],
            origin=origin,
            logger=store,
        )
        evaluation = registry.open_run(store, run_name="evaluation")
        tested = read_origin(str(paper_dataset), fingerprint, split="test")
        summary = {
            "set_id": "5" * 16,
            "dataset": str(paper_dataset),
            "dataset_fingerprint": fingerprint,
            "split": "test",
            "clips": len(values),
            "identities": ["eve"],
            "sources": tested.sources["sha256"].to_pylist(),
            "features": tested.features,
            "rows": {"true_pose": {"psnr": {"mean": sum(values) / len(values), "low": None, "high": None, "clips": len(values)}}},
            **changes,
        }
        registry.log_metrics(evaluation, {"real_time_factor": speed}, logger=store)
        rows = [{"key": f"eve-{i}", "identity": "eve", "frames": 64, "row": "true_pose", "psnr": value} for i, value in enumerate(values)]
        pd.DataFrame(rows).to_parquet(tmp_path / "metrics.parquet", index=False)
        registry.log_artifacts(evaluation, tmp_path / "metrics.parquet", logger=store)
        with registry.session(store) as client:
            client.log_text(evaluation, json.dumps(summary), "metrics.json")
        registry.record_evaluation(made.uri, set_id=str(summary["set_id"]), run_id=evaluation, logger=store)
        return made.uri

    return make


@pytest.fixture
def elsewhere(empty_database: Path, tmp_path: Path) -> LoggerConfig:
    """A second local store."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    return LoggerConfig(
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
        artifacts=str(folder / "artifacts"),
        cache=str(folder / "cache"),
        experiment="tests",
    )
