"""What `a2h evaluate` is made of (pipelines/evaluation/evaluate.py joins it).

sets      which clips: of a split, or frozen in a file with hashes
systems   what makes the films: a model, or a folder of videos that another system made
clips     one clip → its numbers, under each protocol
diary     results that are kept until the report is written, so that an interrupted evaluation goes
          on
summary   means over clips with intervals, and broken down
page      report.html
"""
