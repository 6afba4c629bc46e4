"""What every other package stands on: settings, lake, catalog, jobs, tracking, errors."""
