"""What earlier runs found: kept in SQLite, compared, and asked what became of a host."""

from gpuhost.history.store import DATABASE, History, HistoryError, open_history

__all__ = ["DATABASE", "History", "HistoryError", "open_history"]
