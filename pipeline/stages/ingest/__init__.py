"""FASTA to corpus: read (files to sorted runs), merge (runs to parts), stage (the two as tasks, and the manifest)."""
