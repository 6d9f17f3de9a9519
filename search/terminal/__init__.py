"""What is printed while a search runs: lines or a live screen on standard error, and the text of plan and result.

The only place that knows of terminals. What is told after a search, in tables and pages, belongs in `findings`.
"""
