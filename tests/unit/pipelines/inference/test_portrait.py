"""Any picture as a portrait: which face, how it is cut, how it is laid back, and what is told when
it will not do.
"""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from a2h_models.errors import InputError
from pipelines import media
from pipelines.config import GenerateConfig
from pipelines.face.face_mesh import Box, Square, crop_square, detect_faces
from pipelines.inference.portrait import MIN_FACE_PX, PORTRAIT_SCALE, fit_portrait, limit_size, paste_back, select_face

SAVED = {
    "alpha.png": "RGBA",
    "grey.png": "L",
    "grey with alpha.png": "LA",
    "palette.png": "P",
    "print.jpg": "CMYK",
    "web.webp": "RGB",
    "one bit.png": "1",
}


@pytest.mark.parametrize("name", SAVED)
def test_any_kind_of_picture_is_rgb(name: str, tmp_path: Path, astronaut: np.ndarray) -> None:
    Image.fromarray(astronaut).convert(SAVED[name]).save(tmp_path / name)
    got = media.load_portrait(tmp_path / name)
    assert (got.shape, got.dtype) == (astronaut.shape, np.uint8)
    assert np.corrcoef(got.mean(2).ravel(), astronaut.mean(2).ravel())[0, 1] > (0.4 if SAVED[name] == "1" else 0.95)


def test_sixteen_bits_are_scaled_not_cut_off(tmp_path: Path, astronaut: np.ndarray) -> None:
    grey = astronaut.mean(2)
    Image.fromarray((grey * 257).astype(np.uint16)).save(tmp_path / "deep.png")
    assert np.abs(media.load_portrait(tmp_path / "deep.png")[..., 0] - grey).max() <= 1


def test_turned_by_exif(tmp_path: Path, astronaut: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90°
    Image.fromarray(np.rot90(astronaut)).save(tmp_path / "turned.png", exif=exif)
    assert np.array_equal(media.load_portrait(tmp_path / "turned.png"), astronaut)


def test_of_an_animation_the_first_picture_counts(tmp_path: Path, astronaut: np.ndarray) -> None:
    first, second = Image.fromarray(astronaut), Image.new("RGB", (512, 512), "green")
    first.save(tmp_path / "moving.gif", save_all=True, append_images=[second])
    assert np.abs(media.load_portrait(tmp_path / "moving.gif").astype(int) - astronaut).mean() < 10


def test_a_picture_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    Image.new("1", (40_000, 30_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 1_000_000
    with pytest.raises(InputError, match=r"bomb\.png"):
        media.load_portrait(tmp_path / "bomb.png")


# -------------------------------------------------------------------------------------------- faces
@pytest.mark.parametrize("animal", ["cat", "chelsea"])
def test_animals_have_no_face(animal: str) -> None:
    picture = np.asarray(getattr(pytest.importorskip("skimage.data"), animal)())
    with pytest.raises(InputError, match="no face was found in pet"):
        fit_portrait(picture, GenerateConfig(), name="pet")


def test_of_several_faces_the_largest_or_the_one_of_a_number(astronaut: np.ndarray) -> None:
    import cv2

    small = cv2.resize(astronaut[:300, 60:360], (250, 250), interpolation=cv2.INTER_AREA)
    both = np.full((400, 700, 3), 200, np.uint8)
    both[100:350, 20:270], both[50:350, 350:650] = small, astronaut[:300, 60:360]
    squares = {
        face: fit_portrait(both, GenerateConfig(preprocess="full", face=face), name="both").square for face in (0, 1, 2)
    }
    assert squares[0] == squares[2]
    assert squares[1].x < 150
    assert squares[2].x > 400
    with pytest.raises(InputError, match=r"both shows 2 face\(s\), and generate\.face=3"):
        fit_portrait(both, GenerateConfig(face=3), name="both")


def test_a_tiny_face_is_named_with_its_size() -> None:
    with pytest.raises(InputError, match="the face in x is 20 pixels high, and must be 48"):
        select_face([Box(5, 5, 20, 20)], 0, name="x")
    assert select_face([Box(5, 5, MIN_FACE_PX, 20)], 1, name="x").w == MIN_FACE_PX


def test_a_portrait_is_cut_wider_than_its_one_box(astronaut: np.ndarray) -> None:
    """Clips are cut by the union of many boxes: with their scale a portrait's face would be a tenth
    too large.
    """
    (box,) = detect_faces(astronaut)
    square = fit_portrait(astronaut, GenerateConfig(preprocess="full"), name="x").square
    assert square == crop_square([box], 512, 512, PORTRAIT_SCALE)
    assert square.side > crop_square([box], 512, 512).side


# ---------------------------------------------------------------------------------------- laid back
@given(st.integers(0, 60), st.integers(0, 30), st.integers(8, 40), st.integers(4, 64))
@settings(max_examples=25, deadline=None)
def test_what_is_outside_of_the_square_stays(x: int, y: int, side: int, size: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (70, 100, 3), dtype=np.uint8)
    square = Square(x, y, side)
    laid = paste_back(np.full((size, size, 3), 255, np.uint8), picture, square)
    inside = np.zeros((70, 100), bool)
    inside[y : y + side, x : x + side] = True
    assert np.array_equal(laid[~inside], picture[~inside])
    assert (laid[y + side // 2, x + side // 2] == 255).all()


def test_the_seam_is_soft_except_at_the_pictures_own_border() -> None:
    picture, frame = np.zeros((100, 100, 3), np.uint8), np.full((50, 50, 3), 255, np.uint8)
    inner = paste_back(frame, picture, Square(25, 25, 50))
    assert np.abs(np.diff(inner[50, :, 0].astype(int))).max() < 80
    assert inner[25, 25, 0] == 0
    corner = paste_back(frame, picture, Square(0, 0, 50))
    assert corner[0, 0, 0] == 255
    assert corner[49, 0, 0] == 0


def test_a_large_picture_becomes_a_video_of_bounded_size() -> None:
    assert limit_size(np.zeros((4001, 3001, 3), np.uint8), 1920).shape == (1920, 1440, 3)
    assert limit_size(np.zeros((101, 200, 3), np.uint8), 1920).shape == (100, 200, 3)
    even = np.zeros((100, 200, 3), np.uint8)
    assert limit_size(even, 1920) is even
