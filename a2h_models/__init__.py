"""What a talking head is: tensors in, tensors out. No cluster, no registry, no files but weights."""
