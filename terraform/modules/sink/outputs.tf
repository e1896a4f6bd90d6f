output "filter" {
  description = "What the sink exports, in Logging's query language."
  value       = local.filter
}

output "writer_identity" {
  description = "The identity that the sink publishes as."
  value       = local.writer_identity
}
