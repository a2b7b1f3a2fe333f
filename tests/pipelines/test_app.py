"""The page through its real server: what a visitor sends, and what comes back."""

import re
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from a2h_models.errors import InputError
from pipelines import cli, media
from pipelines.app import explained
from pipelines.generate import NOTICE

ROOT = Path(__file__).resolve().parents[2]

SPEECH_S = 0.4
MAX_SPEECH_S = 2.0


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("app") / ".cache"  # hidden, as in a checkout


@pytest.fixture(scope="module")
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def words(bundle: Path, cache: Path, port: int) -> list[str]:
    return [
        *(sys.executable, "-m", "pipelines.cli", "app", f"model={bundle}", f"port={port}", f"max_speech_s={MAX_SPEECH_S}"),
        *("generate.batch_size=4", f"paths.cache={cache}"),
    ]


@pytest.fixture(scope="module")
def url(bundle: Path, cache: Path, port: int) -> Iterator[str]:
    """The address of a server in a process of its own: Gradio leaves sockets and event loops to the garbage collector."""
    pytest.importorskip("gradio")
    with (
        tempfile.TemporaryFile("w+") as complaints,
        subprocess.Popen(words(bundle, cache, port), stdout=subprocess.PIPE, stderr=complaints, text=True, cwd=ROOT) as server,
    ):
        assert server.stdout is not None
        try:
            address = server.stdout.readline().partition(" ")[0]
            complaints.seek(0)
            assert address.startswith("http://127.0.0.1"), complaints.read()
            yield address
        finally:
            server.terminate()
        assert server.wait(timeout=30) == 0
    assert list(cache.iterdir()) == []  # nothing of a visitor outlives the server


@pytest.fixture(scope="module")
def visitor(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from gradio_client import Client

    client = Client(url, verbose=False, analytics_enabled=False, download_files=str(tmp_path_factory.mktemp("downloads")))
    yield client
    client.close()


@pytest.fixture(scope="module")
def portrait(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Path:
    path = tmp_path_factory.mktemp("portrait") / "face.png"
    Image.fromarray(astronaut).save(path)
    return path


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("speech") / "hello.wav"
    soundfile.write(path, np.sin(2 * np.pi * 200 * np.arange(int(SPEECH_S * 16_000)) / 16_000) / 2, 16_000)
    return path


def talk(visitor: Any, portrait: Path | None, speech: Path | None, **controls: object) -> Path:
    from gradio_client import handle_file

    files = [handle_file(str(path)) if path else None for path in (portrait, speech)]
    values = {"keypoints": "relative", "still": False, "pose_scale": 1.0} | controls
    answer = visitor.predict(*files, *values.values(), api_name="/talk")
    return Path(answer["video"] if isinstance(answer, dict) else answer)


@pytest.mark.slow
def test_a_visitor_gets_a_video(visitor: Any, portrait: Path, speech: Path, cache: Path) -> None:
    video = talk(visitor, portrait, speech, keypoints="absolute", still=True, pose_scale=0.5)
    assert video.name == "face__hello.mp4"
    info = media.probe(video)
    assert (info.video_codec, info.fps, info.frames, info.has_audio) == ("h264", 25.0, 10, True)
    assert NOTICE.encode() in video.read_bytes()
    assert list(cache.rglob("face__hello.mp4"))  # the server's own copy lies where it was told to


@pytest.mark.slow
def test_a_portrait_without_a_face_is_told(visitor: Any, speech: Path, tmp_path: Path) -> None:
    from gradio_client.exceptions import AppError

    Image.new("RGB", (300, 200), "green").save(tmp_path / "meadow.png")
    with pytest.raises(AppError, match=r"^no face was found in meadow\.png<br>"):
        talk(visitor, tmp_path / "meadow.png", speech)


@pytest.mark.slow
def test_a_portrait_that_is_no_picture_is_told(visitor: Any, speech: Path, tmp_path: Path) -> None:
    from gradio_client.exceptions import AppError

    (tmp_path / "words.png").write_text("no picture at all")
    with pytest.raises(AppError, match=r"cannot identify image file .*words\.png"):
        talk(visitor, tmp_path / "words.png", speech)


@pytest.mark.slow
def test_what_is_missing_or_too_long_is_told(visitor: Any, portrait: Path, tmp_path: Path) -> None:
    from gradio_client.exceptions import AppError

    with pytest.raises(AppError, match="the speech is missing<br>upload or record it first"):
        talk(visitor, portrait, None)
    soundfile.write(tmp_path / "sermon.wav", np.ones(16_000 * 3) / 9, 16_000)
    with pytest.raises(AppError, match=r"^sermon\.wav: 3\.00 s of speech.*<br>cut it, or raise max_speech_s$"):
        talk(visitor, portrait, tmp_path / "sermon.wav")


@pytest.mark.slow
def test_the_page_loads_nothing_from_other_hosts(url: str) -> None:
    with urllib.request.urlopen(url) as answer:
        shown = answer.read().decode()
    loaded = {"".join(pair) for pair in re.findall(r'<(?:script|iframe|img)[^>]*\ssrc="([^"]+)"|<link[^>]*\shref="([^"]+)"', shown)}
    assert loaded
    assert {link for link in loaded if link.startswith(("http:", "https:", "//")) and not link.startswith(url)} == set()


@pytest.mark.slow
def test_a_port_that_is_taken_is_named(url: str, bundle: Path, tmp_path: Path, port: int) -> None:
    answer = subprocess.run(words(bundle, tmp_path, port), capture_output=True, text=True, check=False, cwd=ROOT)
    assert answer.returncode == 2
    assert f"port {port} of 127.0.0.1 cannot be used\n     say port=" in answer.stderr


def test_names_are_the_visitors_and_no_markup() -> None:
    error = InputError("/a/b/<i>.png is no picture", hint="give a PNG & smile")
    assert explained(error, ["/a/b/<i>.png"]) == "&lt;i&gt;.png is no picture<br>give a PNG &amp; smile"


def test_help_needs_no_gradio(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)  # as if it were not installed
    assert cli.main(["--help"]) == 0
    assert "\n  app " in capsys.readouterr().out
    assert cli.main(["app", "--help"]) == 0
