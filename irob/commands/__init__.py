"""Doors of `python -m irob VERB`: one file a verb, thin: parse, call, print."""
