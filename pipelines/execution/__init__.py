"""Run a function over many pieces of work.

pool         the entrance: `run` and `session`; the only module that callers need
task         what is run, and how
local        in a loop in this process
ray_cluster  on Ray: bounded, retried, with time limits
sandbox      in a process of its own, which may crash, hang or run out of memory
"""
