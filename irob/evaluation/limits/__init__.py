"""Limits of robustness from both sides: what no classifier can keep, and what an explicit classifier does keep."""
