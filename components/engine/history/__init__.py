"""The history of a pruned training, in bounded memory."""
