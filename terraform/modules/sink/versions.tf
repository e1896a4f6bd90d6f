terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source = "hashicorp/google"
      # Tested on both ends: 7.46.1 and 8.7.0.
      version = ">= 7.46, < 9.0"
    }
  }
}
