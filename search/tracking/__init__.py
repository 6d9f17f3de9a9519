"""MLflow: its runs as a projection of the record, its store, and the registered models.

Only files here import MLflow. They follow a record and never hold up a search; what is shown elsewhere belongs in
`findings`.
"""
