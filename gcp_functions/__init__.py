"""DT events on Google Cloud: a Cloud Run function in front of Pub/Sub or Firestore."""
