# Rows for teams: a dataset for each, of views that show its own Deployments' rows and nothing else. The views may read the
# tables (the dataset is authorized), the team may read the views. A team's Deployments are those whose PED in force now names
# it as the owner, in the clusters that the PED is for.
locals {
  # By what rows are told apart: the Deployment, or the owner that the row itself names.
  team_views = merge(
    { for view in ["replica_changes", "alerts", "current_replicas", "daily_max_replicas"] : view => "deployment" },
    { for view in ["current_limits", "user_replicas_limits", "user_pod_usage", "current_bills", "monthly_fees"] : view => "owner" },
  )

  # Text outside of the views: names are escaped as JSON, whose strings are GoogleSQL's too.
  owned = {
    for team in keys(var.owners) : team => <<-SQL
      owned AS (
        SELECT DISTINCT limits.cluster_id, limits.namespace, limits.deployment_name
        FROM limits_in_force AS limits
        JOIN @dataset.deployment_config AS versions ON versions.config_id = limits.limit_id
        WHERE versions.user_id = ${jsonencode(team)}
          AND limits.begins_at <= CURRENT_TIMESTAMP() AND (limits.ends_at IS NULL OR CURRENT_TIMESTAMP() < limits.ends_at)
      )
    SQL
  }
  of_deployments = {
    for view in keys(local.team_views) : view => <<-SQL
      SELECT rows_of_all.* FROM ${view} AS rows_of_all
      JOIN owned
        ON owned.namespace = rows_of_all.namespace AND owned.deployment_name = rows_of_all.deployment_name
        AND owned.cluster_id = 'projects/' || COALESCE(rows_of_all.project_id, '') || '/locations/' || COALESCE(rows_of_all.location, '')
          || '/clusters/' || rows_of_all.cluster_name
    SQL
  }
  # What a team's view stands on: the view, what it uses, and for Deployments who owns them.
  of_team = {
    for view, by in local.team_views : view => [
      for other in local.view_names : local.definition[local.read_by[view]][other]
      if anytrue([for root in concat([view], by == "owner" ? [] : ["limits_in_force"]) : other == root || contains(local.uses_64[root], other)])
    ]
  }

  of_teams = merge([
    for team in keys(var.owners) : {
      for view, by in local.team_views : "${team}/${view}" => {
        team = team
        view = view
        query = replace(by == "owner"
          ? "WITH\n${join(",\n", local.of_team[view])}\nSELECT * FROM ${view} WHERE user_id = ${jsonencode(team)}\n"
          : "WITH\n${join(",\n", local.of_team[view])},\n${local.owned[team]}${local.of_deployments[view]}",
        "@dataset", local.dataset)
      }
    }
  ]...)
  members = merge([for team, members in var.owners : { for member in members : "${team}/${member}" => { team = team, member = member } }]...)
}

resource "google_bigquery_dataset" "teams" {
  for_each = var.owners

  project                    = var.project
  dataset_id                 = "${var.dataset.name}_${replace(each.key, "/[^A-Za-z0-9_]/", "_")}"
  location                   = var.dataset.location
  description                = "What pedwatch records of the Deployments of ${each.key}."
  delete_contents_on_destroy = true # views, which hold nothing
  labels                     = local.labels

  dynamic "default_encryption_configuration" {
    for_each = local.dataset_key[*]

    content {
      kms_key_name = default_encryption_configuration.value
    }
  }

  depends_on = [google_kms_crypto_key_iam_member.agents]
}

resource "google_bigquery_table" "of_teams" {
  for_each = local.of_teams

  project             = var.project
  dataset_id          = google_bigquery_dataset.teams[each.value.team].dataset_id
  table_id            = each.value.view
  deletion_protection = false
  labels              = local.labels

  view {
    query          = each.value.query
    use_legacy_sql = false
  }

  depends_on = [google_bigquery_table.tables]
}

# The views in it may read the tables, whoever asks them. Nobody but who applies this makes views in it.
resource "google_bigquery_dataset_access" "teams" {
  for_each = var.owners

  project    = var.project
  dataset_id = google_bigquery_dataset.this.dataset_id

  dataset {
    target_types = ["VIEWS"]

    dataset {
      project_id = var.project
      dataset_id = google_bigquery_dataset.teams[each.key].dataset_id
    }
  }
}

# Reading in that dataset only; and asking questions, which the project is billed for.
resource "google_bigquery_dataset_iam_member" "members_read" {
  for_each = local.members

  project    = var.project
  dataset_id = google_bigquery_dataset.teams[each.value.team].dataset_id
  role       = "roles/bigquery.dataViewer"
  member     = each.value.member
}

resource "google_project_iam_member" "members_query" {
  for_each = toset(flatten(values(var.owners)))

  project = var.project
  role    = "roles/bigquery.jobUser"
  member  = each.key
}
