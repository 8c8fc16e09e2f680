"""Measurements beside their baselines: `python -m tests.bench [NAME...] [--quick | --full]` writes bench-out/NAME.json."""
