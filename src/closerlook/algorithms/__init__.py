"""Policy-gradient updates as functions: (agents, batch, settings) to (updated agents, what happened)."""
