"""How one stage is trained: the run and its folder, the Trainer, one process of it, Ray Train
around it.
"""
