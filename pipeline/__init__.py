"""Protein corpora to packed, fixed-length Parquet shards, streamed to PyTorch trainers.

The house, from the roof to the ground; imports run downwards only::

    cli          parse, call, print
    workflow     a recipe: stages in order, then the reader
    console      progress, tables, human / JSON / quiet output
    stages       the verbs: ingest, pack, shard, verify, inspect     streaming   the training side
    config       one frozen model per stage
    engines      who does the work: stages run task by task on an executor
    core         algorithms on numpy arrays                          formats     what lies on disk
    errors       one exception tree
"""

__version__ = "0.1.0"
