"""`a2h generate` as a page in the browser: portrait and speech in, video out, nothing kept. The
page needs no host but this one.

page       what a visitor sees; the only importer of Gradio, with server
server     the running page: its folder, its limits, its end
answers    what a button does: values of the page → a video, or a sentence that says what was wrong
talker     one video, told about while it is drawn
following  work in a thread that is listened to
measured   what is measured of a video
shelf      which models there are, and their cards
visits     whose files lie here, and when they go
examples/  portraits and voices of nobody
"""

from pipelines.app.server import serving

__all__ = ["serving"]
