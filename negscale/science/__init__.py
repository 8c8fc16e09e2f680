"""Science in miniature: do the papers' data and losses teach a CLIP what "no" means? On drawn scenes, in minutes.

The whole chain of the library runs: recipes make the captions and questions, what the tests ask about is taken out, text
encoders are trained on the rest, and every encoder is scored on the same held-out exams, with intervals over seeds.
"""
