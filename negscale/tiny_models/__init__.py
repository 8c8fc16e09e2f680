"""Tiny models that mean something: trained on drawn scenes in minutes, kept beside their code as safetensors.

They run through the same vLLM and transformers code as the models they stand for, so that tests without a network or
a GPU read captions and verdicts, not noise. Nothing here is needed to use them: a backend takes their folder as `path`.
"""
