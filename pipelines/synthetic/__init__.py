"""Render videos of synthetic speakers with known ground truth, for the demo, tests and benchmarks.

voice          speech with phoneme times (espeak-ng), and how far the mouth opens for it
sentences      what the speakers say
photo_regions  outlines of the photograph's parts, traced by hand
head           the photographed head as a solid
appearance     recoloured, mirrored and stretched: how a speaker looks
motion         how the head moves
render         one frame
scene          a whole video and its ground truth
"""

from pipelines.synthetic.scene import SceneConfig, make_speaker_video, make_speaker_videos

__all__ = ["SceneConfig", "make_speaker_video", "make_speaker_videos"]
