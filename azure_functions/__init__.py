"""The receiver on Azure Functions."""
