"""Multiple-choice questions over image captions: files, image-blind audits and sets that no text solves."""
