"""Human check of a run: a sample of kept rows, answers in the run folder, precision with its interval."""
