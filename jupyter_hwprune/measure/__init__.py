"""Measure models with a toolchain: send jobs to a worker, time candidates, match kernels to layers, give verdicts."""
