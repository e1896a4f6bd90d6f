# Every example plans. What comes out of them is held against the code by tests/suite/terraform.rs.
mock_provider "google" {}

run "push" {
  command = plan

  module {
    source = "./examples/push"
  }
}

run "organization" {
  command = plan

  module {
    source = "./examples/organization"
  }
}

run "pull" {
  command = plan

  module {
    source = "./examples/pull"
  }
}
