"""What to try next and who goes on: the search, samplers, schedulers; proof that decisions follow from a record.

No Ray, no torch, no clock: everything follows from the record and the seed. How trials are run belongs in `engine`,
what people are told in `findings`.
"""
