"""What a search will take, before it starts: configurations tried for a moment, the search played through in memory.

Writes nothing and starts no trial. The checks that refuse a search belong in `session`.
"""
