"""What is measured: agents, their parameters and statistics, on disk and in memory."""
