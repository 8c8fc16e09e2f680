"""How much the package remembers in a process: enough for the common words and for the captions of a shard, no more.

Caption words follow Zipf's law, so a cache of the commonest few thousand answers nearly all look-ups; larger ones only
make the memory of a long run grow with its corpus. Sentences come back within a shard (an image's other captions), hardly
ever later.
"""

WORDS = 4096
SENTENCES = 512
