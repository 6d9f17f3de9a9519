"""What happened in a search: its events on disk, the header that says what it is, the trials as they tell them.

Everything here reads or writes one record and nothing else. What is concluded from it belongs in `decide` (what to do
next) or `findings` (what to tell people); where its file lies and who may write it, in `storage`.
"""
