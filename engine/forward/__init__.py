"""The forward pass: weights and steps as a program, the threads that run it, and what is kept of a text."""
