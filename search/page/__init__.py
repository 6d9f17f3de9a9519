"""The live page: what records say, in a browser, while it happens; and what is asked of a running search there.

A projection like the report, of the same figures and tables. What it shows is made in `findings`; here is how it gets
to a browser, and who may ask. Nothing but `app` and `server` knows Starlette or uvicorn.
"""
