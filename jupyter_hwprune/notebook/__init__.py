"""The rim towards the user: magics, the progress line, and what they find in the user's namespace."""
