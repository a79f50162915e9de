"""Loops that measure: attacked and certified accuracy, limits, the quality of generators, reports."""
