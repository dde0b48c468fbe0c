"""Checks that two models answer alike, on inputs that are drawn or given."""
