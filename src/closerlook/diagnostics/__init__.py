"""The questions: each module turns one into jobs, merges their statistics, and judges the result."""
