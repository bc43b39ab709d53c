"""The verbs: one module per stage. No stage imports another."""
