"""What this machine can do: the matrix, the doctor, environments, simulations, energy meters."""
