/** The event types for a Data Connector, in the order of DT's documentation. */
export const EVENT_TYPES = [
  "touch", "temperature", "objectPresent", "humidity", "objectPresentCount", "touchCount", "waterPresent",
  "co2", "pressure", "motion", "deskOccupancy", "contact", "probeWireStatus", "networkStatus", "batteryStatus",
  "labelsChanged", "connectionStatus", "ethernetStatus", "cellularStatus", "connectionLatency",
];
