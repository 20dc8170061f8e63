"""The user's side in a notebook: magics, panels, the progress line, and lookups in the user's namespace."""
