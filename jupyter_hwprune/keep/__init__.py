"""What a user keeps of a run: the pruned model, the report, the files; and a run saved to a folder and loaded."""
