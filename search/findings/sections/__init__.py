"""The sections of a report, one file each: `build` makes plain data of a snapshot, with figures as SVG text.

None of them knows HTML, so other pages can show them too. Which of them a page has, and in which order, belongs to the
page (`report`).
"""
