"""What will be done: the options checked, the toolchain that measures, how much a measurement may take."""
