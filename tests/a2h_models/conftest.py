"""The stand-in of the released weights, loaded once for all who compare with it, and the table of what was measured."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

if TYPE_CHECKING:
    from a2h_models.networks import NetworksConfig

ROW = "parity row"  # the property of a test's report that holds a row of the table


class Reference(NamedTuple):
    """What the published networks computed with the stand-in's weights, and from what."""

    numbers: dict[str, np.ndarray]
    portrait: np.ndarray  # (256, 256, 3) uint8
    wave: np.ndarray  # int16
    pose: np.ndarray  # (65, 6), not normalised


@pytest.fixture(scope="session")
def reference(shared: Path) -> Reference:
    import soundfile
    from PIL import Image

    folder = shared / "parity"
    with np.load(folder / "expected.npz", allow_pickle=False) as file:
        numbers = dict(file)
    wave, _ = soundfile.read(folder / "speech.wav", dtype="int16")
    with Image.open(folder / "reference.png") as image:
        portrait = np.array(image.convert("RGB"))
    pose = np.concatenate([numbers["pose_rotation"], numbers["pose_translation"]], axis=1)
    return Reference(numbers=numbers, portrait=portrait, wave=wave, pose=pose)


@pytest.fixture(scope="session")
def checkpoint(stand_in_checkpoint: Callable[[int], Path]) -> Path:
    """The released file's stand-in of the measured numbers."""
    return stand_in_checkpoint(0)


@pytest.fixture(scope="session")
def narrow_networks() -> "NetworksConfig":
    """All three stages at 64 pixels. (The golden set keeps its own: it is a program as well.)"""
    from a2h_models.networks import NetworksConfig
    from a2h_models.networks.dense_motion import DenseMotionConfig
    from a2h_models.networks.generator import GeneratorConfig
    from a2h_models.networks.head_pose import HeadPoseConfig
    from a2h_models.networks.keypoint_detector import KeypointDetectorConfig
    from a2h_models.networks.motion_field import MotionFieldConfig

    return NetworksConfig(
        image_size=64,
        keypoints=4,
        keypoint_detector=KeypointDetectorConfig(width=4, max_width=16, depth=3, downscale=2, head_kernel=3),
        generator=GeneratorConfig(
            width=4, max_width=8, residual_blocks=1, dense_motion=DenseMotionConfig(width=4, max_width=16, depth=3, head_kernel=3)
        ),
        motion_field=MotionFieldConfig(width=4, max_width=8, depth=2, grid=32, head_kernel=3, lift_channels=2, lift_kernel=3),
        head_pose=HeadPoseConfig(width=4, blocks=(1, 1, 1, 1), state=16),
    )


@pytest.fixture(scope="session")
def stand_in(checkpoint: Path):
    """An animator with the stand-in's weights, at the release's full size."""
    from a2h_models.animator import Animator
    from a2h_models.networks import STAGES, NetworksConfig
    from a2h_models.release import read_release

    modules = read_release(checkpoint)
    return Animator(*(modules[stage] for stage in STAGES), NetworksConfig())


@pytest.fixture
def hold(record_property: Callable[[str, object], None]) -> Callable[[str, float, float], None]:
    """`hold(what, measured, at_most)`: assert a bound, and show it in the table at the end. One number for both."""

    def check(what: str, measured: float, at_most: float) -> None:
        record_property(ROW, (what, float(at_most), float(measured)))
        assert measured <= at_most, f"{what}: {measured:.3g} is more than {at_most:g}"

    return check


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = list(_rows(terminalreporter))
    if rows:
        terminalreporter.section("parity")
        terminalreporter.write_line("| what | at most | measured |\n|---|---|---|")
        for what, at_most, measured in rows:
            terminalreporter.write_line(f"| {what} | {at_most:g} | {measured:.2g} |")


def _rows(terminalreporter: pytest.TerminalReporter) -> Iterator[tuple[str, float, float]]:
    """The recorded rows, also of tests that failed and of those that ran in another process (xdist)."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    for report in reports:
        yield from (value for name, value in report.user_properties if name == ROW)
