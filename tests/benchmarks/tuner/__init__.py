"""How good are the proposals and the stops? Measured over recorded learning curves, beside every peer."""
