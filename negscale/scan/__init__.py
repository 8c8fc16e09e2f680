"""How much negation a caption collection holds: the motivation measurement of NegationCLIP (arXiv 2501.10913, section 1)."""
