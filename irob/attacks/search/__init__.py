"""Searches that attacks are made of: ascents, walks on a manifold, multipliers, inversions."""
