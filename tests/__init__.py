"""The tests; a package of this name that some other project installs must not hide it."""
