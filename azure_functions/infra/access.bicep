// What the function may do, and who may read what it stored. A module, because only here the principal of the function is
// known early enough to be part of a name. An assignment cannot be given to another principal, so an identity that is
// made anew needs one with another name: https://learn.microsoft.com/azure/role-based-access-control/troubleshooting

@description('The principal of the function.')
param principalId string

@description('The principal that may read the store of events and the secret. Empty: none.')
param readerId string

@description('Where events go: service_bus, storage_queue or table.')
param store string

@description('The storage account.')
param storageName string

@description('The Application Insights component.')
param applicationInsightsName string

@description('The key vault.')
param vaultName string

@description('The Service Bus namespace, with service_bus.')
param serviceBusName string

@description('The queue of events.')
param queueName string

@description('The table of events.')
param tableName string

@description('The table of keys that were sent.')
param seenTableName string

// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
var definitions = 'Microsoft.Authorization/roleDefinitions'
var blobDataOwner = subscriptionResourceId(definitions, 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b')
var metricsPublisher = subscriptionResourceId(definitions, '3913510d-42f4-4e42-8a64-420c390055eb')
var secretsUser = subscriptionResourceId(definitions, '4633458b-17de-408a-b874-0445c86b69e6')
var serviceBusDataSender = subscriptionResourceId(definitions, '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
var queueDataMessageSender = subscriptionResourceId(definitions, 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a')
var tableDataContributor = subscriptionResourceId(definitions, '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
var serviceBusDataReceiver = subscriptionResourceId(definitions, '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
var queueDataReader = subscriptionResourceId(definitions, '19e7f393-937e-4f77-808e-94535e297925')
var tableDataReader = subscriptionResourceId(definitions, '76199698-9eea-4c19-bc75-cec21354c6b6')

// ---- to run ---------------------------------------------------------------------------------------------------------

resource storage 'Microsoft.Storage/storageAccounts@2025-08-01' existing = {
  name: storageName
}

// For the package, and for the Functions host. The host makes containers of its own, so it has the account:
// https://learn.microsoft.com/azure/azure-functions/functions-reference#connecting-to-host-storage-with-an-identity
resource ofStorage 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, principalId, blobDataOwner)
  scope: storage
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: blobDataOwner
  }
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: applicationInsightsName
}

resource ofApplicationInsights 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(applicationInsights.id, principalId, metricsPublisher)
  scope: applicationInsights
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: metricsPublisher
  }
}

resource vault 'Microsoft.KeyVault/vaults@2025-05-01' existing = {
  name: vaultName
}

// In the vault, which has the secret alone: a deployment without a secret makes it again, too, after one that failed.
resource ofVault 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, principalId, secretsUser)
  scope: vault
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: secretsUser
  }
}

// ---- to store -------------------------------------------------------------------------------------------------------

resource serviceBus 'Microsoft.ServiceBus/namespaces@2026-01-01' existing = {
  name: serviceBusName
}

resource serviceBusQueue 'Microsoft.ServiceBus/namespaces/queues@2026-01-01' existing = {
  parent: serviceBus
  name: queueName
}

resource ofServiceBusQueue 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (store == 'service_bus') {
  name: guid(serviceBusQueue.id, principalId, serviceBusDataSender)
  scope: serviceBusQueue
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: serviceBusDataSender
  }
}

resource queues 'Microsoft.Storage/storageAccounts/queueServices@2025-08-01' existing = {
  parent: storage
  name: 'default'
}

resource storageQueue 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-08-01' existing = {
  parent: queues
  name: queueName
}

resource ofStorageQueue 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (store == 'storage_queue') {
  name: guid(storageQueue.id, principalId, queueDataMessageSender)
  scope: storageQueue
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: queueDataMessageSender
  }
}

resource tables 'Microsoft.Storage/storageAccounts/tableServices@2025-08-01' existing = {
  parent: storage
  name: 'default'
}

resource table 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-08-01' existing = {
  parent: tables
  name: store == 'table' ? tableName : seenTableName
}

// It may read, change and delete too. No built-in role is narrower that inserts:
// https://learn.microsoft.com/azure/role-based-access-control/built-in-roles/storage
resource ofTable 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (store != 'service_bus') {
  name: guid(table.id, principalId, tableDataContributor)
  scope: table
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: tableDataContributor
  }
}

// ---- to read --------------------------------------------------------------------------------------------------------

// Owner includes none of these.
resource readerOfVault 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (!empty(readerId)) {
  name: guid(vault.id, readerId, secretsUser)
  scope: vault
  properties: {
    principalId: readerId
    roleDefinitionId: secretsUser
  }
}

resource readerOfServiceBusQueue 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (store == 'service_bus' && !empty(readerId)) {
  name: guid(serviceBusQueue.id, readerId, serviceBusDataReceiver)
  scope: serviceBusQueue
  properties: {
    principalId: readerId
    roleDefinitionId: serviceBusDataReceiver
  }
}

resource readerOfStorageQueue 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (store == 'storage_queue' && !empty(readerId)) {
  name: guid(storageQueue.id, readerId, queueDataReader)
  scope: storageQueue
  properties: {
    principalId: readerId
    roleDefinitionId: queueDataReader
  }
}

resource readerOfTable 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (store == 'table' && !empty(readerId)) {
  name: guid(table.id, readerId, tableDataReader)
  scope: table
  properties: {
    principalId: readerId
    roleDefinitionId: tableDataReader
  }
}
