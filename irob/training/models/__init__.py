"""Training of generators and witnesses: one file each."""
