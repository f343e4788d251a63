"""Three suites, each written once and run for everybody: requests, answers, stores."""
