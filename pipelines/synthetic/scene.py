"""A whole talker: who, what is said, how the head moves → an mp4, and beside it everything that is
true of it.

`talker-0000.mp4` has two companions: `.json` (identity, text, offsets, cut, squares) and `.npz`
(pose and mouth opening, per frame of the video and per frame at 25 fps). Poses are in the camera of
`square`, the crop that preparation should about find. All of it, encoder included, is a function of
the seed.
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

CROP_SHARE = 0.8  # of the frame's side: the crop around the head
DISTANCE = 285.0  # mm between the camera and a resting head, on average
REST_HEIGHT = 25.0  # mm that the face's middle stands below the crop's
REST_SPREAD = np.array([0.03, 0.05, 0.03, 4.0, 4.0, 12.0])  # rad and mm: how differently people sit
LEAD_IN_S, PAUSE_S = 0.3, 0.35  # before the first sentence, and between two
NOISE = 6.0  # of 16-bit sound: a quiet room
CHUNK = 32  # frames handed to the encoder at a time
MIN_SIZE, MAX_SIZE = 64, 2048  # pixels


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """What a talker's video is like."""

    seconds: float = 5.0
    size: int = 320  # pixels a side; two faces stand side by side in twice the width
    fps: float = FPS
    audio_offset_frames: int = 0  # frames at 25 fps by which the sound is late; negative: early
    second_face: bool = False  # someone who listens
    cut: bool = False  # in the middle, to another person
    background: str = ""  # photo | plain | rooms; empty: any
    liveliness: float = 1.0  # of the head motion

    def __post_init__(self) -> None:
        if not self.seconds > 0 or not self.fps > 0 or not MIN_SIZE <= self.size <= MAX_SIZE:
            raise InputError(
                f"no talker has {self.seconds} seconds, {self.fps} frames a second and {self.size} pixels a side"
            )
        if self.background and self.background not in BACKGROUNDS:
            raise InputError(f"background={self.background} is none of {', '.join(BACKGROUNDS)}")

    @property
    def frames(self) -> int:
        return max(1, round(self.seconds * self.fps))


@dataclass(frozen=True, kw_only=True)
class SyntheticSpeaker:
    """A person before the camera, and how they move."""

    renderer: Renderer
    motion: HeadMotion
    camera: Camera
    speaks: bool


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """What is said: the sound, and the mouth's opening on its own clock."""

    wave: Int16[np.ndarray, " n"]
    curve: Float64[np.ndarray, " m"]  # at PHONEME_RATE
    text: str
    voice: str

    def opening(self, times: Float64[np.ndarray, " t"]) -> Float64[np.ndarray, " t"]:
        """Mouth opening, 0 to 1, at these seconds."""
        return np.interp(times, (np.arange(len(self.curve)) + 0.5) / PHONEME_RATE, self.curve)


def make_speaker_videos(out: Path, *, count: int, seed: int, scene: SceneConfig | None = None) -> list[Path]:
    """Write `count` videos of synthetic speakers, or keep those that are complete; return their paths.

    Args:
        out: folder of the videos, created where missing.
        count: number of videos, each of another speaker.
        seed: the same seed and scene give the same videos.
        scene: what the videos are like.
    """
    scene = scene or SceneConfig()
    return [make_speaker_video(out / f"talker-{number:04d}.mp4", (seed, number), scene) for number in range(count)]


def make_speaker_video(path: Path, seed: tuple[int, int], config: SceneConfig) -> Path:
    """Write one talker; its truth is written last, so that a talker with its truth is whole."""
    truth = _ground_truth(seed, config)
    store, name = Storage(path.parent), f"{path.stem}.json"
    if store.exists(name) and path.is_file() and _settings(json.loads(store.read(name))) == _settings(truth):
        return path
    rng = np.random.default_rng(seed)
    part = sample_utterance(rng, config)
    shots = sample_shots(rng, config)
    media.write_video(path, _frames(shots, part, config), shift_audio(part.wave, config), fps=config.fps)
    with store.writer(f"{path.stem}.npz") as handle:
        np.savez_compressed(handle, **_signals(shots, part, config))
    truth |= {
        "text": part.text,
        "voice": part.voice,
        "squares": [[asdict(actor.camera) for actor in shot] for shot in shots],
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


# ------------------------------------------------------------------------------------- what is said
def sample_utterance(rng: np.random.Generator, config: SceneConfig) -> Utterance:
    """Draw a voice and as many sentences as fill the video, and what an early sound needs beyond
    its end.
    """
    voice, pitch, rate = VOICES[rng.integers(len(VOICES))], int(rng.integers(30, 71)), int(rng.integers(145, 186))
    order = iter(rng.permutation(len(SENTENCES)).tolist() * (1 + int(config.seconds)))
    wanted = config.seconds + abs(config.audio_offset_frames) / FPS
    clock, waves, phonemes, said = LEAD_IN_S, [_silence(LEAD_IN_S)], [Phoneme(0.0, "")], []
    while clock < wanted:
        speech = speak(SENTENCES[next(order)], voice=voice, pitch=pitch, rate=rate)
        phonemes += [*_later(speech, clock), Phoneme(clock + len(speech.wave) / SAMPLE_RATE, "")]
        waves += [speech.wave, _silence(PAUSE_S)]
        clock += (len(speech.wave) + len(waves[-1])) / SAMPLE_RATE
        said.append(speech.text)
    wave = np.concatenate(waves)[: round(wanted * SAMPLE_RATE)]
    wave = (wave + rng.normal(0, NOISE, len(wave))).clip(-32768, 32767).round().astype(np.int16)
    return Utterance(
        wave=wave,
        curve=mouth_curve(tuple(phonemes), wanted),
        text=" ".join(said),
        voice=f"{voice} pitch {pitch} rate {rate}",
    )


def _later(speech: SynthesizedSpeech, by_s: float) -> list[Phoneme]:
    return [Phoneme(phoneme.start_s + by_s, phoneme.name) for phoneme in speech.phonemes]


def _silence(seconds: float) -> Int16[np.ndarray, " n"]:
    return np.zeros(round(seconds * SAMPLE_RATE), np.int16)


def shift_audio(wave: Int16[np.ndarray, " n"], config: SceneConfig) -> Int16[np.ndarray, " m"]:
    """The sound as it is heard in the video: late by the offset, or early."""
    offset = config.audio_offset_frames * SAMPLES_PER_FRAME
    late: np.ndarray = np.concatenate([np.zeros(max(offset, 0), np.int16), wave[max(-offset, 0) :]])
    return late[: round(config.seconds * SAMPLE_RATE)]


# ------------------------------------------------------------------------------------- who is there
def sample_shots(rng: np.random.Generator, config: SceneConfig) -> list[list[SyntheticSpeaker]]:
    """One shot, or two around a cut; before and after a cut the background differs, or it would
    hardly be one.
    """
    kinds = [config.background] * (1 + config.cut) if config.background else rng.permutation(BACKGROUNDS).tolist()
    return [sample_speakers(rng, replace(config, background=kind)) for kind in kinds[: 1 + config.cut]]


def sample_speakers(rng: np.random.Generator, config: SceneConfig) -> list[SyntheticSpeaker]:
    """The people of a shot: the one who speaks, and perhaps one who listens."""
    return [_sample_speaker(rng, config, speaks=index == 0) for index in range(1 + config.second_face)]


def _sample_speaker(rng: np.random.Generator, config: SceneConfig, *, speaks: bool) -> SyntheticSpeaker:
    side = round(config.size * CROP_SHARE)
    margin = (config.size - side) // 2
    camera = Camera(x=margin, y=margin, side=side)
    rest = np.array([0, 0, 0, 0, REST_HEIGHT, DISTANCE]) + rng.uniform(-1, 1, 6) * REST_SPREAD
    person = sample_appearance(photographed_head(), rng, config.background)
    motion = sample_motion(rng, rest, seconds=config.seconds, liveliness=config.liveliness)
    return SyntheticSpeaker(
        renderer=Renderer(person, camera, rest, config.size), motion=motion, camera=camera, speaks=speaks
    )


# --------------------------------------------------------------------------------- frames and truth
def _frames(
    shots: list[list[SyntheticSpeaker]], part: Utterance, config: SceneConfig
) -> Iterator[UInt8[np.ndarray, "k h w 3"]]:
    times = np.arange(config.frames) / config.fps
    for start in range(0, len(times), CHUNK):
        yield np.stack([_frame(shots[_shot(time, config)], time, part) for time in times[start : start + CHUNK]])


def _frame(actors: list[SyntheticSpeaker], time: float, part: Utterance) -> UInt8[np.ndarray, "h w 3"]:
    return np.concatenate([_picture(actor, np.array([time]), part) for actor in actors], axis=1)


def _picture(actor: SyntheticSpeaker, now: Float64[np.ndarray, " 1"], part: Utterance) -> UInt8[np.ndarray, "s s 3"]:
    opening = part.opening(now)[0] if actor.speaks else 0.0
    return actor.renderer.draw(actor.motion.pose(now)[0], float(opening), float(actor.motion.blink(now)[0]))


def _shot(time: float, config: SceneConfig) -> int:
    return int(config.cut and time >= config.seconds / 2)


def _signals(shots: list[list[SyntheticSpeaker]], part: Utterance, config: SceneConfig) -> dict[str, np.ndarray]:
    """Pose (of the one who speaks; rad and mm) and mouth opening (0 to 1), at the video's rate and
    at 25 fps.
    """
    signals = {}
    for name, times in (
        ("", np.arange(config.frames) / config.fps),
        ("_25", np.arange(max(1, round(config.seconds * FPS))) / FPS),
    ):
        poses = [shots[_shot(time, config)][0].motion.pose(np.array([time]))[0] for time in times]
        signals[f"pose{name}"] = np.array(poses, np.float32)
        signals[f"opening{name}"] = part.opening(times).astype(np.float32)
    return signals
