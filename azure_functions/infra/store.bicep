// Where events go: a Service Bus queue, a queue of Azure Storage with a table of the keys that it was sent, or a table
// of Azure Storage. Acknowledged events are nowhere else, so what holds them is locked: `azd down`, and any other way to
// delete the resource group, fails until the lock is gone. A deployment with another store leaves it where it is.

@description('Where it is.')
param location string

@description('Which of them: service_bus, storage_queue or table.')
param store string

@description('Whether it is locked against deletion.')
param lock bool

@description('Its tags.')
param tags object?

@description('The Service Bus namespace to make.')
param serviceBusName string

@description('The storage account, which is there.')
param storageName string

@description('The queue to make.')
param queueName string

@description('The table to make, of events.')
param tableName string

@description('The table to make, of keys that were sent.')
param seenTableName string

var inServiceBus = store == 'service_bus'
var inStorageQueue = store == 'storage_queue'
var inTable = store == 'table'

// ---- Service Bus ----------------------------------------------------------------------------------------------------

// Standard, because Basic does not detect duplicates.
resource serviceBus 'Microsoft.ServiceBus/namespaces@2026-01-01' = if (inServiceBus) {
  name: serviceBusName
  location: location
  tags: tags
  sku: {
    name: 'Standard'
    tier: 'Standard'
  }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
  }
}

// The first three are chosen when a queue is made, and never changed.
resource events 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' = if (inServiceBus) {
  parent: serviceBus
  name: queueName
  properties: {
    requiresDuplicateDetection: true
    // With partitions, a message would be a duplicate only within its own:
    // https://learn.microsoft.com/azure/service-bus-messaging/duplicate-detection
    enablePartitioning: false
    requiresSession: false
    // DT sends an event again for up to 12 hours.
    duplicateDetectionHistoryTimeWindow: 'P2D'
    // Counted from when a message came. What nobody took by then is among the dead letters, which have no end.
    defaultMessageTimeToLive: 'P14D'
    deadLetteringOnMessageExpiration: true
    lockDuration: 'PT1M'
    maxDeliveryCount: 10
    // The most that there is. A full queue takes nothing, and events are answered 503.
    maxSizeInMegabytes: 5120
  }
}

resource serviceBusLock 'Microsoft.Authorization/locks@2020-05-01' = if (inServiceBus && lock) {
  name: 'holds-events'
  scope: serviceBus
  properties: {
    level: 'CanNotDelete'
    notes: 'Acknowledged events are in here and nowhere else.'
  }
}

// ---- Azure Storage --------------------------------------------------------------------------------------------------

resource storage 'Microsoft.Storage/storageAccounts@2025-08-01' existing = {
  name: storageName
}

resource queues 'Microsoft.Storage/storageAccounts/queueServices@2025-08-01' = if (inStorageQueue) {
  parent: storage
  name: 'default'
}

resource storageQueue 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-08-01' = if (inStorageQueue) {
  parent: queues
  name: queueName
}

resource tables 'Microsoft.Storage/storageAccounts/tableServices@2025-08-01' = if (inStorageQueue || inTable) {
  parent: storage
  name: 'default'
}

// Events, or the keys of those that were sent.
resource table 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-08-01' = if (inStorageQueue || inTable) {
  parent: tables
  name: inTable ? tableName : seenTableName
}

resource storageLock 'Microsoft.Authorization/locks@2020-05-01' = if ((inStorageQueue || inTable) && lock) {
  name: 'holds-events'
  scope: storage
  properties: {
    level: 'CanNotDelete'
    notes: 'Acknowledged events are in here and nowhere else.'
  }
}

@description('The Service Bus namespace, there or not: for its alerts.')
output serviceBusId string = serviceBus.id
