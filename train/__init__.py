"""`python -m train.METHOD` is `python -m irob train METHOD`: the doors themselves stand in irob/commands."""
