"""Weights of other people, fetched from a real server on this machine that can do everything wrong
that servers do.
"""

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml

from a2h_models.errors import CheckpointError, ConfigError, FailedError, InputError
from pipelines.cli.main import main
from pipelines.pretrained import assets, download

CONTENT = np.random.default_rng(0).bytes(300_000)
OTHER = np.random.default_rng(1).bytes(300_000)
CUT = 2 * download.CHUNK  # bytes after which a connection breaks


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class Server:
    """What it serves, how it misbehaves, and what it was asked."""

    url: str = ""
    content: bytes = CONTENT
    etag: str = '"one"'
    cut_after: int = 0  # bytes of a body; 0 sends all
    ignore_range: bool = False
    status: int = 0  # answers this and nothing else
    ranges: list[str | None] = field(default_factory=list)  # of the requests so far


class Handler(BaseHTTPRequestHandler):
    state: Server

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
            return
        state, asked = self.state, self.headers.get("Range")
        state.ranges.append(asked)
        if state.status:
            self.send_error(state.status)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if state.ignore_range or self.headers.get("If-Range", state.etag) != state.etag:
            start = 0
        self.answer(start, len(state.content))

    def answer(self, start: int, total: int) -> None:
        if start >= total:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{total}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.send_header("Content-Length", str(total - start))
        self.send_header("ETag", self.state.etag)
        self.end_headers()
        body = self.state.content[start:]
        self.wfile.write(body[: self.state.cut_after] if self.state.cut_after else body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    handler = type("BoundHandler", (Handler,), {"state": state})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        state.url = f"http://127.0.0.1:{listening.server_port}/file"
        yield state
        listening.shutdown()
        thread.join()


@pytest.fixture
def listing(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, object]]:
    """A listing of one known and one unknown file; a test may change it and calls `write` of the
    fixture below.
    """
    about = {"purpose": "a test", "page": "http://page", "licence": "none", "url": server.url}
    rows: dict[str, dict[str, object]] = {
        "known": {**about, "file": "known.bin", "sha256": sha256(CONTENT), "size_bytes": len(CONTENT)},
        "unknown": {**about, "file": "unknown.bin"},
        "manual": {**about, "file": "manual.bin", "url": None},
    }
    (tmp_path / "assets.yaml").write_text(yaml.safe_dump(rows))
    monkeypatch.setattr(assets, "LISTING", tmp_path / "assets.yaml")
    return rows


@pytest.fixture
def folder(listing: dict[str, dict[str, object]], tmp_path: Path) -> Path:
    return tmp_path / "kept"


def fetch(name: str, folder: Path) -> Path:
    return assets.fetch(assets.list_assets(folder)[name])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# ------------------------------------------------------------------------------- when all goes well
def test_a_file_comes_whole_and_is_asked_for_once(folder: Path, server: Server) -> None:
    assert fetch("known", folder).read_bytes() == CONTENT
    assert fetch("known", folder) == folder / "known.bin"
    assert server.ranges == [None]
    assert names(folder) == {"known.bin"}


def test_what_is_cut_off_goes_on_from_there(folder: Path, server: Server) -> None:
    server.cut_after = CUT
    with pytest.raises(FailedError, match=r"after 0\.1 MB") as caught:
        fetch("known", folder)
    assert caught.value.hint.startswith("the same command again goes on from there; or get known.bin from ")
    assert not (folder / "known.bin").exists()
    with pytest.raises(FailedError):  # and once more
        fetch("known", folder)
    server.cut_after = 0
    assert fetch("known", folder).read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={CUT}-", f"bytes={2 * CUT}-"]
    assert names(folder) == {"known.bin"}


@pytest.mark.parametrize(
    "misbehaviour", [{"ignore_range": True}, {"content": OTHER[:50_000] + CONTENT[50_000:], "etag": '"two"'}]
)
def test_a_server_that_cannot_go_on_begins_again(folder: Path, server: Server, misbehaviour: dict[str, object]) -> None:
    """It ignores the range, or the file changed meanwhile: what is here would not fit the rest."""
    server.cut_after = CUT
    with pytest.raises(FailedError):
        fetch("unknown", folder)
    server.cut_after = 0
    for name, value in misbehaviour.items():
        setattr(server, name, value)
    assert fetch("unknown", folder).read_bytes() == server.content
    assert server.ranges == [None, f"bytes={CUT}-"]


def test_a_part_that_was_whole_already(folder: Path, server: Server) -> None:
    """Killed between the last byte and the renaming: the server has nothing left to send."""
    folder.mkdir()
    (folder / "known.bin.part").write_bytes(CONTENT)
    assert fetch("known", folder).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT)}-"]


def test_a_part_that_is_longer_than_the_file(folder: Path, server: Server) -> None:
    folder.mkdir()
    (folder / "known.bin.part").write_bytes(CONTENT + b"more")
    assert fetch("known", folder).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={len(CONTENT) + 4}-", None]


def test_redirects_are_followed(folder: Path, server: Server) -> None:
    part = folder / "x.part"
    download.download(server.url.replace("/file", "/moved"), part, size=len(CONTENT))
    assert part.read_bytes() == CONTENT


# ----------------------------------------------------------------------------------- the wrong file
def test_a_wrong_file_is_not_kept(folder: Path, server: Server) -> None:
    server.content = OTHER
    with pytest.raises(CheckpointError, match=f"{sha256(OTHER)}.*{sha256(CONTENT)}"):
        fetch("known", folder)
    assert names(folder) == set()
    server.content = CONTENT
    assert fetch("known", folder).read_bytes() == CONTENT


def test_the_first_file_is_remembered_where_nobody_knows_the_hash(folder: Path, server: Server) -> None:
    path = fetch("unknown", folder)
    assert (folder / "unknown.bin.sha256").read_text() == f"{sha256(CONTENT)}  unknown.bin\n"
    assert assets.locate("unknown", folder) == path
    path.write_bytes(OTHER)
    with pytest.raises(CheckpointError, match=f"the one used first here was {sha256(CONTENT)}"):
        assets.locate("unknown", folder)
    path.unlink()
    server.content = OTHER
    with pytest.raises(CheckpointError, match=sha256(OTHER)) as caught:
        fetch("unknown", folder)
    assert "unknown.bin.sha256" in caught.value.hint
    assert names(folder) == {"unknown.bin.sha256"}


def test_a_file_that_was_put_there_by_hand_is_remembered_too(folder: Path) -> None:
    folder.mkdir()
    (folder / "manual.bin").write_bytes(CONTENT)
    assert assets.locate("manual", folder) == folder / "manual.bin"
    (folder / "manual.bin").write_bytes(OTHER)
    with pytest.raises(CheckpointError, match="used first"):
        assets.locate("manual", folder)


def test_a_wrong_file_that_lies_there_is_left_alone(folder: Path, server: Server) -> None:
    folder.mkdir()
    (folder / "known.bin").write_bytes(OTHER)
    with pytest.raises(CheckpointError, match=r"not the right known\.bin"):
        fetch("known", folder)
    assert (folder / "known.bin").read_bytes() == OTHER
    assert server.ranges == []


@pytest.mark.parametrize("content", [CONTENT + b"!", CONTENT[:-1]])
def test_a_size_that_cannot_be_right(folder: Path, server: Server, content: bytes) -> None:
    server.content = content
    with pytest.raises(FailedError, match=str(len(CONTENT))):
        fetch("known", folder)
    assert not (folder / "known.bin").exists()


def test_an_unknown_size_is_bounded(folder: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    with pytest.raises(FailedError, match=r"300000 bytes, more than 1000"):
        fetch("unknown", folder)
    assert (folder / "unknown.bin.part").stat().st_size == 0


# ------------------------------------------------------------------------------------------ no file
def test_no_network(folder: Path, listing: dict[str, dict[str, object]], tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as closed:
        url = f"http://127.0.0.1:{closed.server_port}/file"
    listing["known"]["url"] = url
    (tmp_path / "assets.yaml").write_text(yaml.safe_dump(listing))
    with pytest.raises(FailedError, match=f"{url}: Connection refused$") as caught:
        fetch("known", folder)
    assert caught.value.hint.endswith(f"or get known.bin from {url} and put it at {folder / 'known.bin'}")


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_server_that_refuses(folder: Path, server: Server, status: int) -> None:
    server.status = status
    with pytest.raises(FailedError, match=f"answers {status}"):
        fetch("known", folder)


def test_only_the_web(tmp_path: Path) -> None:
    for url in ("file:///etc/hosts", "ftp://host/file"):
        with pytest.raises(ConfigError, match="neither http nor https"):
            download.download(url, tmp_path / "x.part", size=None)


def test_two_calls_do_not_write_to_one_part(folder: Path, server: Server) -> None:
    import fcntl

    folder.mkdir()
    with (folder / "known.bin.part").open("ab") as theirs:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        with pytest.raises(FailedError, match="another process"):
            fetch("known", folder)
    assert server.ranges == []


def test_what_is_missing_says_how_to_get_it(folder: Path) -> None:
    with pytest.raises(InputError, match=r"a test needs known\.bin") as caught:
        assets.locate("known", folder, otherwise="do without")
    assert caught.value.hint.startswith("`a2h assets fetch known` gets it; or get known.bin from http://")
    assert caught.value.hint.endswith("or do without")
    with pytest.raises(InputError, match="has no direct download") as caught:
        fetch("manual", folder)
    assert "http://page" in caught.value.hint


# -------------------------------------------------------------------------------------- the command
def test_the_command(folder: Path, server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    def say(*words: str) -> tuple[int, str, str]:
        code = main(["assets", *words, "--folder", str(folder)])
        told = capsys.readouterr()
        return code, " ".join(told.out.split()), told.err

    code, shown, _ = say()
    assert code == 0
    assert shown.count("missing") == 3
    assert server.ranges == []  # looking opens no connection
    assert say("fetch", "all") == (0, f"known: {folder}/known.bin unknown: {folder}/unknown.bin", "")
    (folder / "known.bin").write_bytes(OTHER)
    _, shown, _ = say()
    assert [shown.count(word) for word in ("another file", "here:", "missing")] == [1, 1, 1]
    code, _, told = say("fetch", "knwon")
    assert (code, told.splitlines()[1].strip()) == (2, "did you mean known?")


def test_training_looks_for_vgg19_among_the_assets(tmp_path: Path, listing: dict[str, dict[str, object]]) -> None:
    from pipelines.config.compose import compose
    from pipelines.training.build import make_stage

    rows = listing | {"vgg19": {**listing["known"], "purpose": "the loss", "file": "vgg19.pth", "sha256": None}}
    (tmp_path / "assets.yaml").write_text(yaml.safe_dump(rows))
    words = [
        "stage=image_generator",
        "scale=smoke",
        "stage.perceptual=10",
        "dataset.path=nowhere",
        f"paths.cache={tmp_path}",
    ]
    command = compose("train", words)
    with pytest.raises(InputError, match=r"the loss needs vgg19\.pth") as caught:
        make_stage(command)
    assert "`a2h assets fetch vgg19`" in caught.value.hint
    assert "stage.perceptual=0" in caught.value.hint
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "vgg19.pth").write_bytes(CONTENT)
    # it is found, and read
    with pytest.raises(CheckpointError, match=rf"vgg19\.pth is not .*begins with {sha256(CONTENT)[:8]}"):
        make_stage(command)


def test_what_is_not_measured_names_assets_that_exist() -> None:
    from a2h_models.metrics import NEEDS
    from pipelines.evaluation.summary import reasons_not_measured

    named = set(re.findall("a2h assets fetch ([a-z0-9]+)", " ".join(reasons_not_measured({}, ()).values())))
    assert named == set(NEEDS)
    assert named <= assets.list_assets("kept").keys()


def test_the_listing_of_the_project() -> None:
    found = assets.list_assets("kept")
    assert {"vgg19", "syncnet", "alexnet", "inception", "i3d", "arcface"} <= found.keys()
    for asset in found.values():
        spec = asset.spec
        assert spec.url is None or spec.url.startswith("https://")
        assert spec.sha256 is None or re.fullmatch("[0-9a-f]{64}", spec.sha256)
        in_name = re.search(r"-([0-9a-f]{8})\.pth", spec.file)  # torch's way to say how a file's hash begins
        assert in_name is None or str(spec.sha256).startswith(in_name[1])


def test_the_listing_says_what_the_networks_say() -> None:
    from a2h_models.networks import perceptual

    spec = assets.list_assets("kept")["vgg19"].spec
    assert spec.file == perceptual.WEIGHTS
    assert spec.url == perceptual.WEIGHTS_PAGE
    assert str(spec.sha256).startswith(perceptual.WEIGHTS_SHA256)
