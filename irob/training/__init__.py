"""Loops that train: one file a method, and `fit`, the loop that they share."""
