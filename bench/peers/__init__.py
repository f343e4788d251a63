"""What people would write instead: the clouds' own SDKs with their defaults, and PyJWT. Each has ``handle``."""
