"""What a model is: its architecture, its sizes as its file says them, and the tensors that it must have."""
