"""The contract of stores, and what builds on it."""
