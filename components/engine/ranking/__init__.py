"""From scores to masks: what is scored, what is pruned as one, and how many stay."""
