"""`a2h demo`: the whole pipeline once, at a small scale, and a page that shows the results.

demo     the steps, from videos to a generated video
records  which steps are done, with their results and times
paths    where a demo keeps its files
page     the page (index.html)
curves   the page's plots: head pose and learning curves
"""
