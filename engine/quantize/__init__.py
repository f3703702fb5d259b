"""Weights in fewer bits: which type each tensor of a model gets, and turning its rows into that type."""
