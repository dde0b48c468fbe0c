"""Examples artifacts: their splits, files and records."""
