"""Benchmarks: irob against plain PyTorch twins, same weights, same work, same machine, interleaved in one run."""
