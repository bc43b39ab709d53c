"""Corpus to plan: items (what is to be packed), part (its rows), stage (parts as tasks, and the manifest)."""
