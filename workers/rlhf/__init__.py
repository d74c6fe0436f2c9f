"""The mathematics of learning from preferences: tensors in, tensors out.

Nothing here reads a file, a clock or a global random generator. Dimension names used throughout:
b batch (episodes or comparisons), q query length, r response length, k samples per comparison, v vocabulary.
"""
