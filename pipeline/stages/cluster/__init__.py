"""Corpus to clusters and splits, by rounds of tasks that the stage puts together.

======================  =====================================================================================
stage                   what is asked, the order of the rounds, the manifest
levels, search          clusters by mmseqs: rounds, tasks
adopting, existing      clusters that others made
pinning, splits         an earlier split, and which split a cluster is in
ranking                 members in order, sizes, splits
purging, purge          what is similar to held-out records or to benchmarks
writing                 the parts, and the published split
names, layout, rounds   what they share: names of records, where records are, rounds of a task for each part
======================  =====================================================================================
"""
