"""The course of a pruned training, in bounded memory."""
