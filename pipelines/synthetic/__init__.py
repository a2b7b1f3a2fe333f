"""Synthetic talkers: videos of people who are no one, with the truth beside them, for the demo, the
tests and the benchmarks.

voice     how it sounds, and how the mouth opens for it (espeak-ng)
outlines  the photograph's parts, drawn by hand
head      the photographed head as a solid
person    recoloured, mirrored, stretched: who it is
motion    how the head moves
render    one frame
scene     a whole video and its truth
"""

from pipelines.synthetic.scene import SceneConfig, make_speaker_video, make_speaker_videos

__all__ = ["SceneConfig", "make_speaker_video", "make_speaker_videos"]
