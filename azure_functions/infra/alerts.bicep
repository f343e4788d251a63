// Alerts: an event that could not be stored, silence, and what a consumer leaves in the queue. A log alert costs more
// than one of a metric, so there are two, and none of what is refused: anybody can post to the URL.

@description('Where the log alerts are.')
param location string

@description('What the names of the alerts begin with.')
param name string

@description('The Application Insights component that has the log.')
param applicationInsightsId string

@description('Where events go: service_bus, storage_queue or table.')
param store string

@description('The Service Bus namespace, with service_bus.')
param serviceBusId string

@description('The storage account.')
param storageId string

@description('The queue of events.')
param queueName string

@description('Where alerts are sent. Empty: nowhere.')
param email string

@description('Alert when no event was acknowledged for this many minutes. 0: never.')
param silenceMinutes int

@description('Alert when more messages than this wait in the queue.')
param waitingMessages int

@description('The budget for each month; 0 is none.')
param budgetAmount int

@description('The first day of a month.')
param budgetStart string

@description('The tags of alerts.')
param tags object?

var ofLogs = {
  actionGroups: empty(email) ? [] : [people.id]
}
var ofMetrics = empty(email) ? [] : [{ actionGroupId: people.id }]

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(email)) {
  name: '${name}-alerts'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'dt-receiver'
    enabled: true
    emailReceivers: [
      {
        name: 'email'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

// Each outcome `failed` is a 5xx, and so is what ended without a line of ours; 0 is an invocation that had no answer.
// Not the metric Http5xx: nothing says that it is there on this plan.
resource failed 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = {
  name: '${name}-failed'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: '${name}-failed'
    description: 'An event could not be stored, or the function did not answer. DT sends it again, for up to 12 hours. The log has the cause.'
    severity: 1
    scopes: [applicationInsightsId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT5M'
    autoMitigate: true
    // A new component has no data to try a query on.
    skipQueryValidation: true
    criteria: {
      allOf: [
        {
          query: '''
            requests
            | where toint(resultCode) >= 500 or toint(resultCode) == 0
          '''
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: ofLogs
  }
}

resource silence 'Microsoft.Insights/scheduledQueryRules@2026-03-01' = if (silenceMinutes > 0) {
  name: '${name}-silence'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: '${name}-silence'
    description: 'No event was acknowledged for ${silenceMinutes} minutes. Look at the Data Connector in DT Studio, and for "refused" in the log. After 5 days without success DT switches a Data Connector off.'
    severity: 1
    scopes: [applicationInsightsId]
    evaluationFrequency: 'PT15M'
    windowSize: 'PT${silenceMinutes}M'
    autoMitigate: true
    skipQueryValidation: true
    criteria: {
      allOf: [
        {
          query: '''
            traces
            | where tostring(parse_json(message).outcome) in ("stored", "duplicate", "dropped")
          '''
          timeAggregation: 'Count'
          operator: 'LessThan'
          threshold: 1
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: ofLogs
  }
}

// https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-servicebus-namespaces-metrics
var ofQueue = store != 'service_bus'
  ? []
  : [
      {
        key: 'dead-letters'
        metric: 'DeadletteredMessages'
        threshold: 0
        description: 'A consumer received an event ten times and did not complete it, or nobody took it for 14 days. It is among the dead letters of the queue.'
      }
      {
        key: 'waiting'
        metric: 'ActiveMessages'
        threshold: waitingMessages
        description: 'More than ${waitingMessages} events wait in the queue. After 14 days they are among the dead letters; when the queue is full, events are answered 503.'
      }
    ]

resource serviceBusAlerts 'Microsoft.Insights/metricAlerts@2026-01-01' = [
  for alert in ofQueue: {
    name: '${name}-${alert.key}'
    location: 'global'
    tags: tags
    properties: {
      description: alert.description
      severity: 2
      enabled: true
      scopes: [serviceBusId]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT5M'
      autoMitigate: true
      criteria: {
        'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
        allOf: [
          {
            criterionType: 'StaticThresholdCriterion'
            name: alert.key
            metricNamespace: 'Microsoft.ServiceBus/namespaces'
            metricName: alert.metric
            timeAggregation: 'Maximum'
            operator: 'GreaterThan'
            threshold: alert.threshold
            dimensions: [
              {
                name: 'EntityName'
                operator: 'Include'
                values: [queueName]
              }
            ]
          }
        ]
      }
      actions: ofMetrics
    }
  }
]

// Counted once an hour, over all queues of the account. Azure Storage knows neither dead letters nor an age:
// https://learn.microsoft.com/azure/azure-monitor/reference/supported-metrics/microsoft-storage-storageaccounts-queueservices-metrics
resource storageQueueAlert 'Microsoft.Insights/metricAlerts@2026-01-01' = if (store == 'storage_queue') {
  name: '${name}-waiting'
  location: 'global'
  tags: tags
  properties: {
    description: 'More than ${waitingMessages} events wait in the queue.'
    severity: 2
    enabled: true
    scopes: ['${storageId}/queueServices/default']
    evaluationFrequency: 'PT1H'
    windowSize: 'PT6H'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: 'waiting'
          metricNamespace: 'Microsoft.Storage/storageAccounts/queueServices'
          metricName: 'QueueMessageCount'
          timeAggregation: 'Average'
          operator: 'GreaterThan'
          threshold: waitingMessages
        }
      ]
    }
    actions: ofMetrics
  }
}

resource budget 'Microsoft.Consumption/budgets@2026-06-01' = if (budgetAmount > 0) {
  name: name
  properties: {
    category: 'Cost'
    amount: budgetAmount
    timeGrain: 'Monthly'
    timePeriod: {
      startDate: budgetStart
    }
    notifications: toObject([50, 100], it => 'at-${it}', it => {
      enabled: true
      operator: 'GreaterThan'
      threshold: it
      contactEmails: empty(email) ? [] : [email]
      contactRoles: ['Owner']
    })
  }
}
