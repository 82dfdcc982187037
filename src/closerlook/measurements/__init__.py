"""What workers answer: rollouts reduced to small sums, updates and what they do to a policy, surfaces."""
