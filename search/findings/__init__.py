"""What a record says to people: summary, tables, figures, report, exports, and the statistics behind them.

Reads records and what lies beside them, and decides nothing. The screen of a running search belongs in `terminal`,
MLflow's runs in `tracking`.
"""
