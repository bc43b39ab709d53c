"""The training side: the reader (numpy), and the dataset, collation and objectives (torch)."""
