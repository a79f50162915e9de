"""The frame: the values that rooms exchange and the few tools they share."""
