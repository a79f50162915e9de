"""Methods of training a classifier: one file each, its name the registered one, with `build` and `Settings`."""
