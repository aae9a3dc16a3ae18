"""Room 9: does a run decide by shape or by texture? Altered test images, cue conflict, saliency.

Not called ``shape``: that is the verb, ``rotogbml.shape``.
"""
