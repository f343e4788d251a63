"""Test suites that run for every adapter and every store: requests, answers, stores."""
