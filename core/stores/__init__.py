"""The contract of stores, and wrappers that implement it."""
