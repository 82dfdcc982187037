"""Where state-action pairs come from: engines that step many environments, and the closed loop over them."""
