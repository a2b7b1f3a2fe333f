"""Raw video → shards: plan, then the steps probe, clips, faces, samples, filters, in the order of
the data.
"""
