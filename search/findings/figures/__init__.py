"""The figures of reports and notebooks: plain numbers in, drawing out.

`style` decides how all of them look, `axes` holds what several share, and each of the others draws one subject. None
reads a record; what to draw belongs in `sections`.
"""
