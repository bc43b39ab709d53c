"""What lies on disk: storage, manifests, FASTA, headers, corpus, plan and shards."""
