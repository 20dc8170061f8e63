"""Build a report, with the reasons for its verdict."""
