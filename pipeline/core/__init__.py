"""Algorithms on numpy arrays: numpy and the standard library only."""
