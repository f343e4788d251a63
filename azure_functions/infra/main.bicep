// The receiver on Azure: a function app on the Flex Consumption plan, its secret and its log. The stores are in
// store.bicep, its permissions in access.bicep, alerts in alerts.bicep.

targetScope = 'resourceGroup'

@description('The region of everything. Not every region has the plan: az functionapp list-flexconsumption-locations')
param location string = resourceGroup().location

@description('Tags of everything that can have some, such as team=facilities,cost=1.')
param tags string = ''

// ---- stores ---------------------------------------------------------------------------------------------------------

@description('Where an event is stored before it is acknowledged. service_bus: a queue, which takes each event once. storage_queue: a queue of Azure Storage; an event can be in it twice, with the same key. table: a table of Azure Storage, which keeps each event once. The data of another store is not deleted.')
@allowed(['service_bus', 'storage_queue', 'table'])
param store string = 'service_bus'

// Azure changes no account from one to the other: azure_functions/deploy.sh names what is there.
@description('Copies of the data in the storage account. Standard_ZRS: in three zones of the region, if it has zones. Standard_LRS: in one. Empty: Standard_LRS with service_bus, because the account then has no events, and otherwise Standard_ZRS.')
@allowed(['', 'Standard_ZRS', 'Standard_LRS'])
param redundancy string = ''

@description('Whether the stores of events are locked against deletion. Locks need the role Owner or User Access Administrator.')
param lock bool = true

// The type of the principal is not given: Azure knows it, and older versions of azd do not.
@description('The id of the user or service principal that deploys, who gets the roles for reading the store of events and the secret. Empty: nobody.')
param principalId string = ''

@description('Whether that principal gets the roles. false: for example where a policy allows no roles for single users.')
param readAccess bool = true

// ---- authentication -------------------------------------------------------------------------------------------------

// An empty value keeps the secret in Key Vault, so a deployment neither deletes it nor reverts a rotation. azd has
// it from the environment that it runs in and keeps it nowhere. A parameter without a default it would keep, and give
// to each deployment again.
@description('The signature secret of the Data Connector, for the first deployment. Empty: the one in Key Vault stays.')
@secure()
param signatureSecret string = ''

@description('Whether a request needs a function key. anonymous: none. function: one in the header x-functions-key, which a Data Connector can send; Azure refuses others before the receiver sees them.')
@allowed(['anonymous', 'function'])
param authLevel string = 'anonymous'

@description('Which signatures a request must have. any: at least one configured here. hs256: the signature with the secret. es256: the asymmetric one of DT, which needs organizationId and no secret. both: both.')
@allowed(['any', 'hs256', 'es256', 'both'])
param signaturePolicy string = 'any'

@description('The id of your organization at DT, or several, joined by commas. Turns on the asymmetric signature.')
param organizationId string = ''

@description('Seconds after its expiry for which an otherwise valid signature is still accepted. After an outage of more than an hour, set 46800 if the log says "refused: expired"; then 0 again.')
@minValue(0)
@maxValue(86400)
param acceptExpiredFor int = 0

@description('The event type to keep, or several, joined by commas. Others are acknowledged and dropped. Empty: all.')
param eventTypes string = ''

@description('The id of the project at DT to keep events of, or several, joined by commas. Others are acknowledged and dropped. Empty: all.')
param projectIds string = ''

// ---- the function ---------------------------------------------------------------------------------------------------

@description('Memory of an instance in MB. More memory is also more CPU.')
@allowed([512, 2048, 4096])
param instanceMemory int = 512

// 40 was the least at first, and in some regions it still is: https://github.com/MicrosoftDocs/azure-docs/pull/128255
// Azure has been seen to go beyond: https://github.com/Azure/azure-functions-host/issues/11790
@description('Maximum number of instances, which limits the cost of a flood. A region may refuse less than 40.')
@minValue(1)
@maxValue(1000)
param maxInstances int = 40

@description('Instances that always run. 1 avoids a cold start for the first event after a pause, and is charged all day.')
@minValue(0)
param alwaysReady int = 0

// ---- monitoring -----------------------------------------------------------------------------------------------------

@description('Where alerts are sent. Empty: they are shown in Azure Monitor only.')
param alarmEmail string = ''

@description('Alert when no event was acknowledged for this many minutes; before the first event it is in alarm. 0: no such alert.')
@allowed([0, 15, 30, 45, 60, 120, 180, 240, 300, 360, 1440, 2880])
param silenceMinutes int = 60

@description('Alert when more messages than this wait in the queue.')
@minValue(1)
param waitingMessages int = 10000

@description('Days to keep the log. It has no content of an event and no secret.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Maximum GB of log a day, which limits the cost of a flood. Further lines are lost, and alerts miss them. -1: no limit.')
@minValue(-1)
param logDailyCap int = 5

@description('A budget for the resource group, in the currency of the subscription for each month: a mail at half of it and at all of it to its owners and to alarmEmail. It stops nothing. 0: none.')
@minValue(0)
param budgetAmount int = 0

// Azure wants the first day of a month, and of no earlier one.
@description('When the budget begins: leave it out.')
param budgetStart string = utcNow('yyyy-MM-01')

// ---------------------------------------------------------------------------------------------------------------------

// A resource group has one receiver: azd would not know which of two to deploy to.
var name = 'dt-receiver'
// Null leaves them as they are.
var tagged = empty(tags) ? null : toObject(split(tags, ','), it => trim(split(it, '=')[0]), it => split(it, '=')[1])
// Some names are unique in all of Azure.
var suffix = uniqueString(resourceGroup().id)
var fullName = '${name}-${suffix}'
var serviceBusName = fullName
var storageName = 'dt${suffix}'
var secretName = 'signature-secret'
var queueName = 'events'
var tableName = 'events'
var seenTableName = 'seenKeys'
// With a store in Azure Storage, each request has a thread of the worker's. With more requests than threads, some wait.
var concurrency = 16

// An empty value counts as not set.
var settings = {
  DT_STORE: store
  DT_AUTH_LEVEL: authLevel
  DT_SIGNATURE_POLICY: signaturePolicy
  DT_ORGANIZATION_ID: organizationId
  DT_ACCEPT_EXPIRED_FOR: string(acceptExpiredFor)
  DT_EVENT_TYPES: eventTypes
  DT_PROJECT_ID: projectIds
}
var settingsOf = {
  service_bus: {
    DT_SERVICE_BUS: '${serviceBusName}.servicebus.windows.net'
    DT_QUEUE: queueName
  }
  storage_queue: {
    DT_STORAGE: storageName
    DT_QUEUE: queueName
    DT_SEEN_TABLE: seenTableName
  }
  table: {
    DT_STORAGE: storageName
    DT_TABLE: tableName
  }
}
// Without a version: Azure takes the newest within 24 hours, or when told to. Should it find none, or not be let in,
// the function gets this text in the place of the secret:
// https://learn.microsoft.com/azure/app-service/app-service-key-vault-references
var settingsOfSecret = signaturePolicy == 'es256'
  ? {}
  : {
      DT_SIGNATURE_SECRET: '@Microsoft.KeyVault(SecretUri=${vault.properties.vaultUri}secrets/${secretName})'
    }

// ---- the function ---------------------------------------------------------------------------------------------------

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: fullName
  location: location
  tags: tagged
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: fullName
  location: location
  kind: 'functionapp,linux'
  // azd deploys to the app that has the name of its service.
  tags: union(tagged ?? {}, {
    'azd-service-name': 'receiver'
  })
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    clientAffinityEnabled: false
    keyVaultReferenceIdentity: identity.id
    functionAppConfig: {
      runtime: {
        name: 'python'
        version: '3.13'
      }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.properties.primaryEndpoints.blob}${packages.name}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identity.id
          }
        }
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemory
        maximumInstanceCount: maxInstances
        alwaysReady: alwaysReady > 0 ? [{ name: 'http', instanceCount: alwaysReady }] : []
        triggers: {
          http: {
            perInstanceConcurrency: concurrency
          }
        }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
    }
  }
  // It must not start without its permissions.
  dependsOn: [access]
}

resource appSettings 'Microsoft.Web/sites/config@2025-03-01' = {
  parent: app
  name: 'appsettings'
  properties: union(settings, settingsOf[store], settingsOfSecret, {
    AZURE_CLIENT_ID: identity.properties.clientId
    AzureWebJobsStorage__accountName: storage.name
    AzureWebJobsStorage__credential: 'managedidentity'
    AzureWebJobsStorage__clientId: identity.properties.clientId
    APPLICATIONINSIGHTS_CONNECTION_STRING: applicationInsights.properties.ConnectionString
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identity.properties.clientId};Authorization=AAD'
    PYTHON_THREADPOOL_THREAD_COUNT: string(concurrency)
  })
}

// No deployment with a password: https://learn.microsoft.com/azure/app-service/configure-basic-auth-disable
resource noFtpPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'ftp'
  properties: { allow: false }
}

resource noScmPassword 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'scm'
  properties: { allow: false }
}

// The packages, and what the Functions host keeps: keys, leases. With storage_queue and table, the events too.
resource storage 'Microsoft.Storage/storageAccounts@2025-08-01' = {
  name: storageName
  location: location
  tags: tagged
  kind: 'StorageV2'
  sku: {
    name: !empty(redundancy) ? redundancy : store == 'service_bus' ? 'Standard_LRS' : 'Standard_ZRS'
  }
  properties: {
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-08-01' = {
  parent: storage
  name: 'default'
}

resource packages 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-08-01' = {
  parent: blobs
  name: 'packages'
  properties: {
    publicAccess: 'None'
  }
}

// ---- identity -------------------------------------------------------------------------------------------------------

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: fullName
  location: location
  tags: tagged
}

module access 'access.bicep' = {
  name: '${name}-access'
  params: {
    // The names need it: an assignment cannot be given to another principal. A preview does not see the assignments.
    #disable-next-line what-if-short-circuiting
    principalId: identity.properties.principalId
    readerId: readAccess ? principalId : ''
    store: store
    storageName: storage.name
    applicationInsightsName: applicationInsights.name
    vaultName: vault.name
    serviceBusName: serviceBusName
    queueName: queueName
    tableName: tableName
    seenTableName: seenTableName
  }
  dependsOn: [secret, place]
}

// ---- the secret -----------------------------------------------------------------------------------------------------

// Purge protection: for seven days after the vault is deleted, nobody can purge it or reuse its name.
resource vault 'Microsoft.KeyVault/vaults@2025-05-01' = {
  name: 'dt-${suffix}'
  location: location
  tags: tagged
  properties: {
    tenantId: subscription().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    enablePurgeProtection: true
    softDeleteRetentionInDays: 7
  }
}

// One secret, verbatim, or a JSON array of several. For a rotation, give it a new version: ["new","old"].
resource secret 'Microsoft.KeyVault/vaults/secrets@2025-05-01' = if (!empty(signatureSecret)) {
  parent: vault
  name: secretName
  properties: {
    value: signatureSecret
    contentType: 'one signature secret, or a JSON array of several'
  }
}

// ---- stores ---------------------------------------------------------------------------------------------------------

module place 'store.bicep' = {
  name: '${name}-store'
  params: {
    location: location
    store: store
    lock: lock
    tags: tagged
    serviceBusName: serviceBusName
    storageName: storage.name
    queueName: queueName
    tableName: tableName
    seenTableName: seenTableName
  }
}

// ---- log and alerts -------------------------------------------------------------------------------------------------

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-07-01' = {
  name: fullName
  location: location
  tags: tagged
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: logRetentionDays
    workspaceCapping: {
      dailyQuotaGb: logDailyCap
    }
    features: {
      disableLocalAuth: true
    }
  }
}

resource applicationInsights 'Microsoft.Insights/components@2020-02-02' = {
  name: fullName
  location: location
  tags: tagged
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    DisableLocalAuth: true
  }
}

module alerts 'alerts.bicep' = {
  name: '${name}-alerts'
  params: {
    location: location
    name: name
    applicationInsightsId: applicationInsights.id
    store: store
    serviceBusId: place.outputs.serviceBusId
    storageId: storage.id
    queueName: queueName
    email: alarmEmail
    silenceMinutes: silenceMinutes
    waitingMessages: waitingMessages
    budgetAmount: budgetAmount
    budgetStart: budgetStart
    tags: tagged
  }
}

// ---- outputs --------------------------------------------------------------------------------------------------------

@description('The endpoint URL for the Data Connector, with its /events: at /, Azure itself may answer 200.')
output url string = 'https://${app.properties.defaultHostName}/events'

@description('The function app.')
output functionApp string = app.name

@description('The key vault that has the signature secret, under the name signature-secret.')
output vault string = vault.name

@description('The Service Bus namespace; empty with another store.')
output serviceBus string = store == 'service_bus' ? serviceBusName : ''

@description('The queue of events, in Service Bus or in the storage account; empty with store table.')
output queue string = store == 'table' ? '' : queueName

@description('The storage account; with storage_queue and table, it has the events.')
output storage string = storage.name

@description('The table of events; empty with another store.')
output table string = store == 'table' ? tableName : ''

@description('The store of events, for dtconn events --from.')
output source string = store == 'service_bus'
  ? 'servicebus:${serviceBusName}.servicebus.windows.net/${queueName}'
  : store == 'storage_queue'
      ? 'storage-queue:${storage.properties.primaryEndpoints.queue}${queueName}'
      : 'azure-table:${storage.properties.primaryEndpoints.table}${tableName}'

@description('The Application Insights component, which has the log.')
output applicationInsights string = applicationInsights.name
