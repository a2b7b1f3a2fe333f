"""A stream buffer reads frames by their number, pulls no further than it must, and frees old ones."""

from collections.abc import Iterator

import numpy as np
import pytest

from a2h_models.inference.buffer import StreamBuffer

FRAMES = np.arange(10)


def blocks(pulled: list[int] | None = None) -> Iterator[np.ndarray]:
    """FRAMES in uneven blocks, one empty; `pulled` records how many frames were given out."""
    for start, stop in ((0, 3), (3, 3), (3, 7), (7, 10)):
        if pulled is not None:
            pulled.append(stop)
        yield FRAMES[start:stop]


def test_reading_joins_blocks_and_ends_with_the_stream() -> None:
    buffer = StreamBuffer(blocks())
    np.testing.assert_array_equal(buffer.read(1, 8), FRAMES[1:8])
    np.testing.assert_array_equal(buffer.read(6, 99), FRAMES[6:])
    assert [buffer.has(9), buffer.has(10)] == [True, False]
    with pytest.raises(IndexError, match="frame 10"):
        buffer.read(10, 11)


def test_no_block_is_pulled_before_it_is_needed() -> None:
    pulled: list[int] = []
    buffer = StreamBuffer(blocks(pulled))
    buffer.read(0, 3)
    assert pulled == [3]
    assert buffer.has(3)
    assert pulled == [3, 3, 7]


def test_forgotten_frames_cannot_be_read_and_the_others_keep_their_numbers() -> None:
    buffer = StreamBuffer(blocks())
    buffer.read(0, 7)
    buffer.forget(5)
    np.testing.assert_array_equal(buffer.read(5, 9), FRAMES[5:9])
    with pytest.raises(IndexError, match="frame 4"):
        buffer.read(4, 9)
    assert buffer.has(4)


def test_the_last_frame_outlives_forgetting() -> None:
    buffer = StreamBuffer(blocks())
    assert buffer.last().tolist() == [9]
    buffer.forget(1000)
    assert buffer.last().tolist() == [9]
    assert buffer.read(9, 10).tolist() == [9]


def test_blocks_give_what_is_kept_and_what_is_still_to_come() -> None:
    buffer = StreamBuffer(blocks())
    buffer.read(0, 4)
    buffer.forget(2)
    np.testing.assert_array_equal(np.concatenate(list(buffer.blocks())), FRAMES[2:])
