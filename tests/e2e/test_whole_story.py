"""`a2h demo` from end to end: on a few real clips if they are here, else on synthetic speakers."""

import json
import shutil
from pathlib import Path

import pytest

from pipelines.cli.main import main
from tests.paths import ROOT, SHARED

SHARED_CLIPS = SHARED / "clips"
# short ones of six people, one of them too short to be used
REAL = (
    "pcavs_517600055.mp4",
    "pcavs_00086.mp4",
    "spectre_mead_w023.mp4",
    "lipnet_grid_bbaf2n.mpg",
    "vexpress_aoc_2997.mp4",
    "spectre_lrs3_short_1s.mp4",
)
STEPS = 6  # of each stage: enough to see every part move, too few to learn


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished demo's folder."""
    root = tmp_path_factory.mktemp("story")
    words = ["demo", f"out={root / 'demo'}", f"max_steps={STEPS}", "count=4", "seconds=3.2"]
    if SHARED_CLIPS.is_dir():
        videos = root / "videos"
        videos.mkdir()
        for name in REAL:
            (videos / name).symlink_to(SHARED_CLIPS / name)
        words.append(f"videos={videos}")
    assert main(words) == 0
    return root / "demo"


pytestmark = pytest.mark.slow


def test_the_ledger_accounts_for_every_video(story: Path) -> None:
    import pandas as pd

    ledger = pd.read_parquet(story / "dataset" / "ledger.parquet")
    videos = ledger[ledger["kind"] == "video"]
    assert len(videos) == (len(REAL) if SHARED_CLIPS.is_dir() else 4)
    assert set(videos["status"]) <= {"accepted", "rejected", "failed"}
    if SHARED_CLIPS.is_dir():
        short = videos[videos["file"].str.endswith("spectre_lrs3_short_1s.mp4")].iloc[0]
        assert (short["status"], short["reason"]) == ("rejected", "too_short")


def test_the_dataset_verifies(story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(story / "dataset")]) == 0, capsys.readouterr().out


def test_the_champion_is_the_registered_bundle(story: Path) -> None:
    records = json.loads((story / "demo.json").read_text())["entries"]
    assert records["register"]["result"].startswith("models:/audio2head/")
    assert records["promote"]["result"]["accepted"] is True


def test_the_champions_lineage_ends_at_the_videos(story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The SHA-256 of every video that training saw, read from the model, is that of a file."""
    import hashlib

    import pandas as pd

    runs = story / "runs"
    words = [
        f"logger.tracking_uri=sqlite:///{runs / 'mlflow.db'}",
        f"logger.artifacts={runs / 'artifacts'}",
        "max_sources=0",
    ]
    assert main(["models", "audio2head@champion", *words]) == 0
    shown = capsys.readouterr().out
    fingerprint = json.loads((story / "dataset" / "dataset.json").read_text())["fingerprint"]
    assert f"dataset {fingerprint}  {story / 'dataset'}: verified" in shown
    ledger = pd.read_parquet(story / "dataset" / "ledger.parquet")
    videos = ledger[(ledger["kind"] == "video") & (ledger["status"] == "accepted") & (ledger["split"] == "train")]
    assert len(videos)
    folder = story.parent / "videos" if SHARED_CLIPS.is_dir() else story / "talkers"
    for name in videos["file"]:
        (file,) = folder.rglob(Path(name).name)
        assert f"sha256 {hashlib.sha256(file.read_bytes()).hexdigest()}  {name}" in shown


def test_the_video_plays_as_long_as_the_speech(story: Path) -> None:
    import soundfile

    from pipelines import media

    video = Path(json.loads((story / "demo.json").read_text())["entries"]["generate"]["result"])
    info = media.probe(video)
    assert info.has_audio
    assert info.video_codec == "h264"
    assert info.fps == pytest.approx(25)
    assert (
        abs(info.duration_s - soundfile.info(story / "speech.wav").duration) <= 0.04 + 0.024
    )  # a frame, and an AAC frame of 1,024 samples


def test_the_page_shows_everything_and_needs_nothing_from_outside(story: Path) -> None:
    page = (story / "index.html").read_text()
    for section in (
        "The video",
        "The data",
        "The training",
        "The numbers",
        "The decision",
        "Ground truth",
        "Copied portrait",
    ):
        assert section in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page


def test_a_finished_demo_repeats_no_step(story: Path) -> None:
    before = json.loads((story / "demo.json").read_text())
    words = ["demo", f"out={story}", f"max_steps={STEPS}", "count=4", "seconds=3.2"]
    if SHARED_CLIPS.is_dir():
        words.append(f"videos={story.parent / 'videos'}")
    assert main(words) == 0
    assert json.loads((story / "demo.json").read_text()) == before


def test_another_demo_in_the_same_folder_is_refused(story: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", f"out={story}", "seed=99"]) == 2
    assert "holds a demo of other videos" in capsys.readouterr().err


@pytest.mark.parametrize("notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_each_notebook_runs_on_the_demo(
    notebook: Path, story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("A2H_DEMO", str(story))
    copy = Path(shutil.copy(notebook, tmp_path))
    client = NotebookClient(
        nbformat.read(copy, as_version=4),
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": tmp_path}},
    )
    executed = client.execute()
    assert any(
        output.output_type in {"display_data", "execute_result"}
        for cell in executed.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )


# webdataset leaves the closing of files to the collector
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_plain_webdataset_reads_the_shards(story: Path) -> None:
    import gc

    import webdataset

    shards = sorted(str(path) for path in (story / "dataset").glob("a2h-train-*.tar"))
    samples = list(webdataset.WebDataset(shards, shardshuffle=False, empty_check=False))
    assert samples
    assert {"mp4", "flac", "speech.npy", "mel.npy", "pose.npy", "landmarks.npy", "json"} <= set(samples[0])
    gc.collect()
