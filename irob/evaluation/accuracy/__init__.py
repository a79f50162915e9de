"""What classifiers keep: attacked accuracy from above, certified accuracy from below, curves over epsilon."""
