"""The tunnel benchmark: one tunnel at a time carries load, beside its peers in the same run."""
