"""What `a2h evaluate` consists of (`evaluate.py` joins it).

sets          which clips: of a split, or frozen in a file with hashes
systems       whose videos: a model, or a folder of videos of another system; and the networks that
              measure
videos        reading videos, and detecting the faces in them
decoded_clip  the true video of a clip, and what a system is given
protocols     the videos that each system generates of a clip
clips         one clip → its numbers, under each protocol
result_cache  results that are stored until the report is written, so that an interrupted evaluation
              goes on
summary       means over clips with intervals, also by group
report        table, contact sheet and files
page          report.html
"""
