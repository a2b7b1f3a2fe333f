"""Many pairs: each its video or its reason, and what is there already is left."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from a2h_models.errors import FailedError, InputError
from pipelines.config import ClusterConfig, GenerateCommand, GenerateConfig
from pipelines.inference import generate_pairs
from pipelines.inference.batch import read_pairs


@pytest.fixture
def table(tmp_path: Path, astronaut: np.ndarray) -> Path:
    for number in range(2):
        Image.fromarray(astronaut[:256, 100:356]).save(tmp_path / f"p{number}.png")
    soundfile.write(tmp_path / "s.wav", np.sin(np.arange(3200) / 9) / 3, 16_000)
    (tmp_path / "pairs.csv").write_text("portrait,speech\np0.png,s.wav\np1.png,s.wav\n")
    return tmp_path / "pairs.csv"


def order(table: Path, bundle: Path, workers: int = 0) -> GenerateCommand:
    config = GenerateConfig(preprocess="resize", precision="fp32")
    return GenerateCommand(
        pairs=str(table),
        result_dir=str(table.parent / "out"),
        model=str(bundle),
        generate=config,
        cluster=ClusterConfig(workers=workers),
    )


def report(table: Path) -> list[dict[str, str]]:
    with (table.parent / "out" / "generated.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_each_pair_its_video_and_again_nothing_is_done(table: Path, bundle: Path) -> None:
    assert "2 generated, 0 there already, 0 failed" in generate_pairs(order(table, bundle))
    videos = sorted((table.parent / "out").glob("*.mp4"))
    assert [video.name for video in videos] == ["p0__s.mp4", "p1__s.mp4"]
    before = [video.stat().st_mtime_ns for video in videos]
    assert "0 generated, 2 there already" in generate_pairs(order(table, bundle))
    assert [video.stat().st_mtime_ns for video in videos] == before
    other = order(table, bundle)
    other.generate.still = True
    assert "2 generated" in generate_pairs(other)  # other settings, another video
    videos[0].unlink()
    assert "1 generated, 1 there already" in generate_pairs(other)


@pytest.mark.slow
def test_one_that_fails_stops_no_other(table: Path, bundle: Path) -> None:
    with table.open("a") as file:
        file.write("nothing.png,s.wav\n")
    with pytest.raises(FailedError, match="3 pairs: 2 generated, 0 there already, 1 failed"):
        generate_pairs(order(table, bundle))
    (failed,) = [row for row in report(table) if row["status"] == "failed"]
    assert "nothing.png is not a file" in failed["error_message"]


@pytest.mark.slow
def test_on_ray(table: Path, bundle: Path) -> None:
    assert "2 generated" in generate_pairs(order(table, bundle, workers=1))
    assert [row["status"] for row in report(table)] == ["generated"] * 2


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("picture,speech\na,b\n", "has no column portrait"),
        ("portrait,speech\n", "lists no pairs"),
        ("portrait,speech\na,\n", "line 2: speech is empty"),
        ("", "has no column portrait"),
        ("portrait,speech\nx/p.png,s.wav\ny/p.png,s.wav\n", "written more than once"),
    ],
)
def test_tables_that_will_not_do(text: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(InputError, match=sentence):
        generate_pairs(order(tmp_path / "pairs.csv", tmp_path))


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.csv cannot be read"):
        read_pairs(tmp_path / "nothing.csv")
    (tmp_path / "x.csv").write_bytes(b"portrait,speech\n\xff\xfe,b\n")
    with pytest.raises(InputError, match=r"x\.csv cannot be read"):
        read_pairs(tmp_path / "x.csv")
