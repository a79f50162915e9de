"""Loops that measure: attacks over epsilons and trials, Lipschitz estimates, the quality of data, the whole report."""
