"""Speech features: frame counts, silence, level, long signals.

The numbers themselves are held by test_parity.py.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from a2h_models.errors import ConfigError, InputError
from a2h_models.features import speech
from a2h_models.timebase import HOP_RATE, SAMPLE_RATE, SAMPLES_PER_FRAME

F0, VOICED = 39, 40


def vowel(frames: int, hertz: float = 120.0) -> np.ndarray:
    """A harmonic sound, as int16."""
    time = np.arange(frames * SAMPLES_PER_FRAME) / SAMPLE_RATE
    sound = sum(np.sin(2 * np.pi * hertz * harmonic * time) / harmonic for harmonic in range(1, 8))
    return (sound * 6000).astype(np.int16)


@given(samples=st.integers(1, 9000), frames=st.integers(0, 12))
@settings(max_examples=15, deadline=None)
def test_as_many_frames_as_asked_for(samples: int, frames: int) -> None:
    wave = np.random.default_rng(samples).integers(-2000, 2000, samples).astype(np.int16)
    features = speech.speech_features(wave, frames=frames, f0="dio")
    assert features.shape == (frames, 4, 41)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    mel = speech.log_mel(wave, frames=frames)
    assert mel.shape == (4 * frames, 80)
    assert mel.dtype == np.float16


def test_without_a_count_the_release_decides() -> None:
    # 4T − 1 rows of energies fit into T frames of samples, so that the release loses the last frame
    assert len(speech.speech_features(vowel(10), f0="dio")) == 9


def test_level_does_not_matter() -> None:
    wave = vowel(8)
    loud, quiet = (
        speech.speech_features(wave, frames=8, f0="dio"),
        speech.speech_features(wave / 32768 * 0.1, frames=8, f0="dio"),
    )
    assert np.abs(loud - quiet).max() < 1e-3  # float rounding, in Hz for F0


def test_pitch_of_a_vowel() -> None:
    features = speech.speech_features(vowel(25), frames=25, f0="harvest").reshape(-1, 41)
    assert features[10:-10, VOICED].all()
    assert np.abs(features[10:-10, F0] - 120).max() < 1


def test_silence_is_finite_and_unvoiced() -> None:
    features = speech.speech_features(np.zeros(6400, np.int16), frames=10)
    assert np.isfinite(features).all()
    assert not features[..., F0:].any()


def test_long_speech_in_pieces_has_the_same_pitch(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = speech.speech_features(vowel(75), frames=75)
    monkeypatch.setattr(speech, "PITCH_WHOLE_ROWS", 2 * HOP_RATE)
    monkeypatch.setattr(speech, "PITCH_ROWS", HOP_RATE)
    pieces = speech.speech_features(vowel(75), frames=75)
    assert np.abs(whole - pieces)[:, :, F0].max() < 0.1  # Hz
    assert np.array_equal(whole[..., :F0], pieces[..., :F0])


@given(
    pauses=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    rows=st.sampled_from([40, 75, 100]),
    frames=st.sampled_from([None, 20, 70]),
)
@settings(max_examples=12, deadline=None)
def test_a_stream_gives_the_same_numbers(pauses: list[int], rows: int, frames: int | None) -> None:
    """Voices with pauses between them, which may be longer than a piece: each is bridged from voice
    to voice.
    """
    wave = np.concatenate(
        [np.concatenate([np.zeros(pause * SAMPLES_PER_FRAME, np.int16), vowel(9)]) for pause in pauses]
    )
    tracks, original = [], speech._tracks
    with pytest.MonkeyPatch.context() as change:
        change.setattr(speech, "PITCH_WHOLE_ROWS", 10)
        change.setattr(speech, "PITCH_ROWS", rows)
        change.setattr(speech, "ROWS_AT_ONCE", 30)
        change.setattr(
            speech, "_tracks", lambda *inputs: (tracks.append(track) or track for track in original(*inputs))
        )
        blocks = list(speech.stream_features(wave, frames=frames, f0="dio"))
        change.setattr(speech, "_tracks", lambda *_: iter([np.concatenate(tracks)]))
        wanted = speech.speech_features(wave, frames=frames, f0="dio")
    assert all(len(block) for block in blocks)
    assert np.array_equal(np.concatenate(blocks), wanted)


def test_the_first_frames_come_before_the_rest_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """A minute and more is not analysed before the first block is given."""
    asked: list[int] = []
    original = speech._pitch_piece
    monkeypatch.setattr(speech, "PITCH_WHOLE_ROWS", 10)
    monkeypatch.setattr(speech, "PITCH_ROWS", 50)
    monkeypatch.setattr(speech, "_pitch_piece", lambda *inputs: asked.append(1) or original(*inputs))
    blocks = speech.stream_features(vowel(100), frames=100, f0="dio")
    assert asked == []
    next(blocks)
    assert asked == [1]


def test_spectra_in_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = speech.log_mel(vowel(20), frames=20)
    monkeypatch.setattr(speech, "ROWS_AT_ONCE", 7)
    assert np.array_equal(whole, speech.log_mel(vowel(20), frames=20))


def test_unvoiced_spans_are_bridged() -> None:
    track = np.array([0, 0, 100, 0, 0, 130, 0.0])
    assert np.allclose(speech.fill_unvoiced(track), [100, 100, 100, 110, 120, 130, 130])
    assert not speech.fill_unvoiced(np.zeros(5)).any()


@pytest.mark.parametrize("wave", [np.zeros((100, 2), np.int16), np.zeros(0, np.int16), np.array([0.0, np.nan])])
def test_what_is_not_one_channel_of_numbers_is_refused(wave: np.ndarray) -> None:
    with pytest.raises(InputError, match="speech"):
        speech.speech_features(wave, frames=1)


def test_an_unknown_pitch_method_is_refused() -> None:
    with pytest.raises(ConfigError, match="f0='yin'"):
        speech.speech_features(vowel(2), f0="yin")


def test_dio_agrees_with_harvest_where_both_hear_a_voice() -> None:
    harvest, dio = (
        speech.speech_features(vowel(25), frames=25, f0=method).reshape(-1, 41) for method in speech.F0_METHODS
    )
    both = (harvest[:, VOICED] > 0) & (dio[:, VOICED] > 0)
    assert both.mean() > 0.8
    assert np.median(np.abs(harvest - dio)[both, F0]) < 0.5  # Hz, of 120
    assert np.array_equal(harvest[:, :F0], dio[:, :F0])  # the method changes nothing but the pitch
