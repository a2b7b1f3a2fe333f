"""Landmarks of a clip's face, and the pose of its head."""

from __future__ import annotations

import numpy as np

from pipelines.face.face_mesh import mesh, solve_pose
from pipelines.face.smoothing import fill_gaps, smooth_pose
from pipelines.prepare.steps.state import ClipState, ClipStep, PrepareContext


class SolvePose(ClipStep):
    """Find the face mesh, and solve the head's pose."""

    name = "solve_pose"
    label = "find the face mesh, and solve the head's pose"
    settings = ("features.pose_smoothing_frames",)
    takes = ("frames", "speaker")
    gives = ("mesh", "landmarks", "pose")

    @staticmethod
    def run(state: ClipState, context: PrepareContext) -> None:
        """Run the step."""
        state.mesh = state.speaker.mesh if state.speaker else mesh(state.frames)
        state.landmarks = fill_gaps(state.mesh.landmarks, state.mesh.found)
        if not state.has_face:
            state.pose = np.zeros((len(state.frames), 6), np.float32)
            return
        state.pose = smooth_pose(solve_pose(state.landmarks), context.config.features.pose_smoothing_frames)
