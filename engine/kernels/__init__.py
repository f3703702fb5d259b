"""The arithmetic of the model in nogil machine code: addresses and sizes in, numbers out.

A kernel trusts its arguments: every extent and index is checked by the Python code that builds the program.
"""
