"""A report put together, with the reasons for its verdict."""
