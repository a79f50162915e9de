"""What no classifier can keep, and what the best of some kind does: limits from both sides."""
