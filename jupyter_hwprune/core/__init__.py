"""What everything else speaks in: errors, patterns, options, rules, the strategy matrix, a model's example input."""
