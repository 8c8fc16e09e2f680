"""What leaves a finished run: the annotation file that NegationCLIP released, and a Parquet dataset with its card.

Both stream: a few shards are in memory at a time, whatever the size of the run. Both are published whole or not at all.
"""
