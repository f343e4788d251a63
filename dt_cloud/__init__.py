"""DT Cloud on your desk: projects, sensors and Data Connectors that behave as DT's documents say, on loopback alone.

What is faithful, what is a guess, and how to set it otherwise: docs/dt-cloud.md.
"""


class CloudError(Exception):
    """What keeps the cloud or its sender from working, as a sentence for a person that says what to do next."""
