"""Weights that other projects publish: list, download and verify them.

assets    the files of conf/assets.yaml: where they are, whether they are intact, how to get them
download  one file over HTTP, resumable
"""
