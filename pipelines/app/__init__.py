"""`a2h app`: generate videos in the browser.

The page loads nothing from other hosts and keeps no files.

page           the page's components; with server the only importer of Gradio
server         the running server: its folder, its limits, its end
handlers       what a button does: a request → a video, or an error message
job            one video, with progress while it is generated
av_sync        measure how well mouth and speech of a generated video agree
catalog        the models to choose from, and their model cards
session_files  the files of each browser session, deleted when it ends
examples/      portraits and recordings of synthetic speakers
"""

from pipelines.app.server import serving

__all__ = ["serving"]
