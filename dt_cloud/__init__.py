"""DT Cloud on your desk: projects, sensors and Data Connectors as in DT's documents, on loopback only.

docs/dt-cloud.md says what follows DT's documents, what is assumed, and which options change it.
"""


class CloudError(Exception):
    """A failure of the cloud or its sender; its text tells the user what to do next."""
