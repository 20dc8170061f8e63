"""The result of a run: the pruned model, the report and the files; save a run to a folder and load it."""
