"""How large a model's sizes may be: far beyond all models, and small enough to compute with."""

MAX_LAYERS = 1024
MAX_HEADS = 4096
MAX_WIDTH = 1 << 20
MAX_CONTEXT = 1 << 27
MAX_EXPERTS = 1024
