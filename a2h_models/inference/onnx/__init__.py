"""The networks in a form that other programs run: ONNX.

graphs    what is written: seven graphs for four networks, for the portrait is encoded once and the
          head pose advances frame by frame
folder    the files of one model, each compared with torch
running   the same networks through ONNX Runtime, for `Animator`
"""
