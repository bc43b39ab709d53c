"""Proof from the files alone: checks (for every artefact), corpus, plan, rows and shards, coverage, and stage."""
