"""The dashboards as code: what each shows is here, the JSON below `grafana/dashboards/` is made from it."""
