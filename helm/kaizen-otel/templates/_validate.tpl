{{/* What no schema can say. Each message names the value to set. */}}
{{- define "kaizen-otel.validate" -}}
{{- $d := .Values.destinations -}}
{{- if not $d.jaeger.endpoint -}}
{{- fail "destinations.jaeger.endpoint is empty. Please set it to host:port of Jaeger's OTLP/gRPC receiver, for example jaeger-collector:4317." -}}
{{- end -}}
{{- if not $d.prometheus.endpoint -}}
{{- fail "destinations.prometheus.endpoint is empty. Please set it to the URL of a remote-write receiver, for example http://prometheus:9090/api/v1/write." -}}
{{- end -}}
{{- if not $d.elasticsearch.endpoint -}}
{{- fail "destinations.elasticsearch.endpoint is empty. Please set it to the URL of Elasticsearch or OpenSearch, for example https://elasticsearch-es-http:9200." -}}
{{- end -}}
{{- if and $d.elasticsearch.basicSecret.name $d.elasticsearch.apiKeySecret.name -}}
{{- fail "destinations.elasticsearch has both basicSecret and apiKeySecret. Please set the name of one of them to \"\"." -}}
{{- end -}}
{{- if and $d.jaeger.tls.caSecret.name (not $d.jaeger.tls.enabled) -}}
{{- fail "destinations.jaeger.tls.caSecret is set but TLS is off. Please set destinations.jaeger.tls.enabled to true, or the Secret's name to \"\"." -}}
{{- end -}}
{{- range $name := list "prometheus" "elasticsearch" -}}
{{- $destination := index $d $name -}}
{{- if and $destination.tls.caSecret.name (not (hasPrefix "https://" $destination.endpoint)) -}}
{{- fail (printf "destinations.%s.tls.caSecret is set but the endpoint is %s. Please set destinations.%s.endpoint to an https:// URL, or the Secret's name to \"\"." $name $destination.endpoint $name) -}}
{{- end -}}
{{- end -}}
{{- if and $d.jaeger.bearerSecret.name (not $d.jaeger.tls.enabled) -}}
{{- fail "destinations.jaeger.bearerSecret would travel unencrypted. Please set destinations.jaeger.tls.enabled to true, or the Secret's name to \"\"." -}}
{{- end -}}
{{- end -}}
