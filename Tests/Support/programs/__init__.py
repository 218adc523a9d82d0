"""Traffic of other people's programs, to see what the classifier makes of it."""
