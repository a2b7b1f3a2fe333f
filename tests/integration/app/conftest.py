"""A server in a process of its own, with the registry's smallest model, and inputs for it."""

import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.paths import ROOT

SPEECH_S, MAX_SPEECH_S = 0.8, 2.0


@pytest.fixture(scope="session")
def app_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app") / ".cache"  # hidden, as in a checkout


@pytest.fixture(scope="session")
def app_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def app_command(registered_world: Path, app_port: int) -> Callable[..., list[str]]:
    """The command line of a server whose files lie in a folder; later arguments win."""

    def arguments(cache: Path, *more: str) -> list[str]:
        return [
            *(sys.executable, "-m", "pipelines.cli.main", "app", "model=models:/audio2head/1", f"port={app_port}"),
            *(
                f"max_speech_s={MAX_SPEECH_S}",
                f"paths.cache={cache}",
                f"logger.tracking_uri=sqlite:///{registered_world / 'mlflow.db'}",
            ),
            *(
                f"logger.artifacts={registered_world / 'artifacts'}",
                f"logger.cache={registered_world / 'cache'}",
                *more,
            ),
        ]

    return arguments


@pytest.fixture(scope="session")
def url(app_command: Callable[..., list[str]], app_cache: Path) -> Iterator[str]:
    """The address of a server in a process of its own: Gradio leaves sockets and event loops to the
    garbage collector.
    """
    pytest.importorskip("gradio")
    with (
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(app_command(app_cache), stdout=subprocess.PIPE, stderr=errors, text=True, cwd=ROOT) as server,
    ):
        assert server.stdout is not None
        try:
            address = server.stdout.readline().partition(" ")[0]
            errors.seek(0)
            assert address.startswith("http://127.0.0.1"), errors.read()
            yield address
        finally:
            server.terminate()
        assert server.wait(timeout=30) == 0
    assert list(app_cache.iterdir()) == []  # no file of a session outlives the server


@pytest.fixture(scope="session")
def portrait(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("portrait") / "face.png"
    Image.fromarray(astronaut).save(path)
    return path


@pytest.fixture(scope="session")
def meadow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture without a face."""
    path = tmp_path_factory.mktemp("meadow") / "meadow.png"
    Image.new("RGB", (300, 200), "green").save(path)
    return path


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speech") / "hello.wav"
    soundfile.write(path, np.sin(2 * np.pi * 200 * np.arange(int(SPEECH_S * 16_000)) / 16_000) / 2, 16_000)
    return path
