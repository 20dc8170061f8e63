"""What a toolchain finds: jobs for its worker, a bench for dense and candidates, kernels given to layers, verdicts."""
