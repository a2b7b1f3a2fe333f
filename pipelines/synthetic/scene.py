"""Write a whole video of a synthetic speaker, and its ground truth beside it.

Beside `talker-0000.mp4` lie `talker-0000.json` (identity, text, offsets, cut, squares) and
`talker-0000.npz` (pose and mouth opening, for each frame of the video and for each frame at 25
fps). Poses are those of the camera of `square`, which is about the crop that preparation finds. All
files are a function of the seed and the scene, the encoder's output included.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int16, UInt8

from a2h_models.errors import InputError
from a2h_models.timebase import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME
from pipelines import media
from pipelines.core.storage import Storage
from pipelines.synthetic.appearance import BACKGROUNDS, sample_appearance
from pipelines.synthetic.head import photographed_head
from pipelines.synthetic.motion import HeadMotion, sample_motion
from pipelines.synthetic.render import Camera, Renderer
from pipelines.synthetic.sentences import SENTENCES
from pipelines.synthetic.voice import PHONEME_RATE, VOICES, Phoneme, SynthesizedSpeech, mouth_curve, speak

CROP_SHARE = 0.8  # side of the crop around the head / side of the frame
DISTANCE = 285.0  # mm between the camera and a resting head, on average
REST_HEIGHT = 25.0  # mm: middle of the face below the middle of the crop
REST_SPREAD = np.array([0.03, 0.05, 0.03, 4.0, 4.0, 12.0])  # rad and mm: largest difference of a speaker's resting pose
LEAD_IN_S, PAUSE_S = 0.3, 0.35  # silence before the first sentence, and between two
NOISE = 6.0  # standard deviation in 16-bit samples: a quiet room
CHUNK = 32  # frames passed to the encoder at a time
MIN_SIZE, MAX_SIZE = 64, 2048  # pixels


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """The settings of a video."""

    seconds: float = 5.0
    size: int = 320  # pixels a side; two faces stand side by side in twice the width
    fps: float = FPS
    audio_offset_frames: int = 0  # frames at 25 fps by which the sound is late; negative: early
    second_face: bool = False  # of another speaker, who is silent
    cut: bool = False  # in the middle, to another speaker
    background: str = ""  # photo | plain | rooms; empty: any
    liveliness: float = 1.0  # of the head motion

    def __post_init__(self) -> None:
        if not self.seconds > 0 or not self.fps > 0 or not MIN_SIZE <= self.size <= MAX_SIZE:
            raise InputError(
                f"a synthetic video of {self.seconds} s, {self.fps} frames/s and {self.size} pixels a side is impossible",
                hint=f"seconds and fps must be positive, size {MIN_SIZE} to {MAX_SIZE}",
            )
        if self.background and self.background not in BACKGROUNDS:
            raise InputError(f"background={self.background} is none of {', '.join(BACKGROUNDS)}")

    @property
    def frames(self) -> int:
        return max(1, round(self.seconds * self.fps))


@dataclass(frozen=True, kw_only=True)
class SyntheticSpeaker:
    """A speaker in front of a camera: how they look and move."""

    renderer: Renderer
    motion: HeadMotion
    camera: Camera
    speaks: bool


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """Speech that fills a video, and the opening of the mouth for it."""

    wave: Int16[np.ndarray, " n"]
    curve: Float64[np.ndarray, " m"]  # mouth opening, 0 to 1, at PHONEME_RATE
    text: str
    voice: str

    def opening(self, times: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, " t"]:
        """Return the mouth opening, 0 to 1, at these times in seconds."""
        return np.interp(times, (np.arange(len(self.curve)) + 0.5) / PHONEME_RATE, self.curve)


def make_speaker_videos(out: Path, *, count: int, seed: int, scene: SceneConfig | None = None) -> list[Path]:
    """Write videos of synthetic speakers, or keep those that are complete; return their paths.

    Args:
        out: folder of the videos, created where missing.
        count: number of videos, each of another speaker.
        seed: the same seed and scene give the same videos.
        scene: what the videos are like.
    """
    scene = scene or SceneConfig()
    return [make_speaker_video(out / f"talker-{number:04d}.mp4", (seed, number), scene) for number in range(count)]


def make_speaker_video(path: Path, seed: tuple[int, int], config: SceneConfig) -> Path:
    """Write one video; the JSON is written last, so that a video beside it is complete."""
    truth = _ground_truth(seed, config)
    store, name = Storage(path.parent), f"{path.stem}.json"
    if store.exists(name) and path.is_file() and _settings(json.loads(store.read(name))) == _settings(truth):
        return path
    rng = np.random.default_rng(seed)
    utterance = sample_utterance(rng, config)
    shots = sample_shots(rng, config)
    media.write_video(path, _frames(shots, utterance, config), shift_audio(utterance.wave, config), fps=config.fps)
    with store.writer(f"{path.stem}.npz") as handle:
        np.savez_compressed(handle, **_signals(shots, utterance, config))
    truth |= {
        "text": utterance.text,
        "voice": utterance.voice,
        "squares": [[asdict(speaker.camera) for speaker in shot] for shot in shots],
    }
    store.publish(name, (json.dumps(truth, indent=1, ensure_ascii=False) + "\n").encode())
    return path


def _ground_truth(seed: tuple[int, int], config: SceneConfig) -> dict[str, object]:
    return {
        "seed": list(seed),
        "identity": f"talker-{seed[0]}-{seed[1]}",
        **asdict(config),
        "frames": config.frames,
        "cut_s": config.seconds / 2 if config.cut else None,
        "faces": 1 + config.second_face,
    }


def _settings(truth: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in truth.items() if key not in {"text", "voice", "squares"}}


# ------------------------------------------------------------------------------------------- speech
def sample_utterance(rng: np.random.Generator, config: SceneConfig) -> Utterance:
    """Sample a voice and as many sentences as fill the video.

    An early sound needs some speech beyond the end of the video.
    """
    voice, pitch, rate = VOICES[rng.integers(len(VOICES))], int(rng.integers(30, 71)), int(rng.integers(145, 186))
    order = iter(rng.permutation(len(SENTENCES)).tolist() * (1 + int(config.seconds)))
    duration_s = config.seconds + abs(config.audio_offset_frames) / FPS
    clock, waves, phonemes, texts = LEAD_IN_S, [_silence(LEAD_IN_S)], [Phoneme(0.0, "")], []
    while clock < duration_s:
        speech = speak(SENTENCES[next(order)], voice=voice, pitch=pitch, rate=rate)
        phonemes += [*_shift_phonemes(speech, clock), Phoneme(clock + len(speech.wave) / SAMPLE_RATE, "")]
        waves += [speech.wave, _silence(PAUSE_S)]
        clock += (len(speech.wave) + len(waves[-1])) / SAMPLE_RATE
        texts.append(speech.text)
    wave = np.concatenate(waves)[: round(duration_s * SAMPLE_RATE)]
    wave = (wave + rng.normal(0, NOISE, len(wave))).clip(-32768, 32767).round().astype(np.int16)
    return Utterance(
        wave=wave,
        curve=mouth_curve(tuple(phonemes), duration_s),
        text=" ".join(texts),
        voice=f"{voice} pitch {pitch} rate {rate}",
    )


def _shift_phonemes(speech: SynthesizedSpeech, by_s: float) -> list[Phoneme]:
    return [Phoneme(phoneme.start_s + by_s, phoneme.name) for phoneme in speech.phonemes]


def _silence(seconds: float) -> Int16[np.ndarray, " n"]:
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)


def shift_audio(wave: Int16[np.ndarray, " n"], config: SceneConfig) -> Int16[np.ndarray, " m"]:
    """Shift the sound by the scene's offset: late if positive, early if negative."""
    offset = config.audio_offset_frames * SAMPLES_PER_FRAME
    shifted: np.ndarray = np.concatenate([np.zeros(max(offset, 0), np.int16), wave[max(-offset, 0) :]])
    return shifted[: round(config.seconds * SAMPLE_RATE)]


# ----------------------------------------------------------------------------------------- speakers
def sample_shots(rng: np.random.Generator, config: SceneConfig) -> list[list[SyntheticSpeaker]]:
    """Sample the speakers of one shot, or of two around a cut, which differ in background."""
    kinds = [config.background] * (1 + config.cut) if config.background else rng.permutation(BACKGROUNDS).tolist()
    return [sample_speakers(rng, replace(config, background=kind)) for kind in kinds[: 1 + config.cut]]


def sample_speakers(rng: np.random.Generator, config: SceneConfig) -> list[SyntheticSpeaker]:
    """Sample the speakers of a shot: one who speaks, and perhaps a silent one."""
    return [_sample_speaker(rng, config, speaks=index == 0) for index in range(1 + config.second_face)]


def _sample_speaker(rng: np.random.Generator, config: SceneConfig, *, speaks: bool) -> SyntheticSpeaker:
    side = round(config.size * CROP_SHARE)
    margin = (config.size - side) // 2
    camera = Camera(x=margin, y=margin, side=side)
    rest = np.array([0, 0, 0, 0, REST_HEIGHT, DISTANCE]) + rng.uniform(-1, 1, 6) * REST_SPREAD
    appearance = sample_appearance(photographed_head(), rng, config.background)
    motion = sample_motion(rng, rest, seconds=config.seconds, liveliness=config.liveliness)
    return SyntheticSpeaker(
        renderer=Renderer(appearance, camera, rest, config.size), motion=motion, camera=camera, speaks=speaks
    )


# -------------------------------------------------------------------------- frames and ground truth
def _frames(
    shots: list[list[SyntheticSpeaker]], utterance: Utterance, config: SceneConfig
) -> Iterator[UInt8[np.ndarray, "k h w 3"]]:
    times = np.arange(config.frames) / config.fps
    for start in range(0, len(times), CHUNK):
        yield np.stack(
            [_frame(shots[_shot_at(time, config)], time, utterance) for time in times[start : start + CHUNK]]
        )


def _frame(speakers: list[SyntheticSpeaker], time: float, utterance: Utterance) -> UInt8[np.ndarray, "h w 3"]:
    return np.concatenate([_render(speaker, np.array([time]), utterance) for speaker in speakers], axis=1)


def _render(
    speaker: SyntheticSpeaker, time: Float64[np.ndarray, " 1"], utterance: Utterance
) -> UInt8[np.ndarray, "s s 3"]:
    opening = utterance.opening(time)[0] if speaker.speaks else 0.0
    return speaker.renderer.render(speaker.motion.pose(time)[0], float(opening), float(speaker.motion.blink(time)[0]))


def _shot_at(time: float, config: SceneConfig) -> int:
    return int(config.cut and time >= config.seconds / 2)


def _signals(shots: list[list[SyntheticSpeaker]], utterance: Utterance, config: SceneConfig) -> dict[str, np.ndarray]:
    """Return pose (rad and mm) and mouth opening (0 to 1) of the speaker who speaks.

    Arrays with the suffix `_25` are at 25 fps, the others at the rate of the video.
    """
    signals = {}
    for name, times in (
        ("", np.arange(config.frames) / config.fps),
        ("_25", np.arange(max(1, round(config.seconds * FPS))) / FPS),
    ):
        poses = [shots[_shot_at(time, config)][0].motion.pose(np.array([time]))[0] for time in times]
        signals[f"pose{name}"] = np.array(poses, np.float32)
        signals[f"opening{name}"] = utterance.opening(times).astype(np.float32)
    return signals
