"""DT events on IBM Cloud: Code Engine, as an application or a function, in front of Cloudant."""
