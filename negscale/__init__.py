"""negscale: negation data, training and evaluation for vision-language models, at scale on Ray."""

__version__ = "0.1.0"
