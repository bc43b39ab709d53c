"""Corpus to clusters: search (mmseqs), existing (clusters that others made), ranking (members in order), and stage."""
