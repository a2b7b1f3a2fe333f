"""Reading and writing datasets: the shard format, its index, and the windows that training draws
from it.
"""
