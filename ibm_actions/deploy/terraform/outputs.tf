output "url" {
  description = "The endpoint URL for the Data Connector."
  value       = local.is_application ? ibm_code_engine_app.receiver[0].endpoint : ibm_code_engine_function.receiver[0].endpoint
}

output "cloudant" {
  description = "The address of the Cloudant instance, without a database."
  value       = local.cloudant_url
}

output "source" {
  description = "What to give to dtconn events --from."
  value       = "cloudant:${local.cloudant_url}/${var.database_prefix}"
}

output "trusted_profile" {
  description = "The id of the trusted profile that the receiver is to Cloudant."
  value       = ibm_iam_trusted_profile.receiver.id
}

output "secret" {
  description = "The secret of the project that holds the signature secret, as DT_SIGNATURE_SECRET; null without one."
  value       = local.has_secret ? local.secret : null
}

output "project_id" {
  description = "The id of the Code Engine project. To work in it: ibmcloud ce project select --id \"$(terraform output -raw project_id)\""
  value       = local.project_id
}
