{{/*
The destinations: what they add to gateway.yaml. Only paths stand here; the values come from
Secrets that are mounted as files, which a process list and a crash dump do not show.
*/}}

{{/* Endpoint of a destination, or of the demo's backend: list $ "jaeger" */}}
{{- define "kaizen-otel.endpoint" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- if not $root.Values.demo.enabled -}}
{{- (index $root.Values.destinations $name).endpoint -}}
{{- else -}}
{{- $host := include "kaizen-otel.host" (dict "root" $root "tier" (printf "demo-%s" (ternary "opensearch" $name (eq $name "elasticsearch")))) -}}
{{- if eq $name "jaeger" -}}{{- printf "%s:4317" $host -}}
{{- else if eq $name "elasticsearch" -}}{{- printf "http://%s:9200" $host -}}
{{- else if eq $root.Values.destinations.prometheus.protocol "otlp" -}}{{- printf "http://%s:9090/api/v1/otlp/v1/metrics" $host -}}
{{- else -}}{{- printf "http://%s:9090/api/v1/write" $host -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* TLS of an exporter: list "folder" (destination's tls) */}}
{{- define "kaizen-otel.exporterTls" -}}
{{- $folder := printf "/etc/kaizen-otel/destinations/%s" (index . 0) -}}
{{- $tls := index . 1 -}}
{{- $found := dict -}}
{{- if ($tls.caSecret).name -}}{{- $_ := set $found "ca_file" (printf "%s-ca/ca.crt" $folder) -}}{{- end -}}
{{- if ($tls.clientSecret).name -}}
{{- $_ := set $found "cert_file" (printf "%s-client/tls.crt" $folder) -}}
{{- $_ := set $found "key_file" (printf "%s-client/tls.key" $folder) -}}
{{- end -}}
{{- if $found -}}{{- $_ := set $found "reload_interval" "1m" -}}{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "kaizen-otel.extraName" -}}
{{- printf "otlp_%s/extra_%s" .protocol .name -}}
{{- end -}}

{{/* An exporter of destinations.extra, as JSON; its queue is as durable as that of traces. */}}
{{- define "kaizen-otel.extraExporter" -}}
{{- $tls := include "kaizen-otel.exporterTls" (list (printf "extra-%s" .name) (default dict .tls)) | fromJson -}}
{{- if eq .protocol "grpc" -}}{{- $_ := set $tls "insecure" (not (.tls).enabled) -}}{{- end -}}
{{- $batch := dict "sizer" "bytes" "min_size" 0 "max_size" 4000000 -}}
{{- $queue := dict "storage" "file_storage/queue" "batch" $batch -}}
{{- $found := dict "endpoint" .endpoint "retry_on_failure" (dict "max_elapsed_time" "0s") "sending_queue" $queue -}}
{{- if $tls -}}{{- $_ := set $found "tls" $tls -}}{{- end -}}
{{- if (.bearerSecret).name -}}
{{- $_ := set $found "headers" (dict "authorization" (printf "Bearer ${file:/etc/kaizen-otel/destinations/extra-%s-bearer/token}" .name)) -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* The exporters' settings that destinations ask for, as JSON. */}}
{{- define "kaizen-otel.destinations" -}}
{{- $d := .Values.destinations -}}
{{- $exporters := dict -}}
{{- $tls := include "kaizen-otel.exporterTls" (list "jaeger" $d.jaeger.tls) | fromJson -}}
{{- $settings := dict -}}
{{- if $d.jaeger.tls.enabled -}}{{- $_ := set $settings "tls" (set $tls "insecure" false) -}}{{- end -}}
{{- if $d.jaeger.bearerSecret.name -}}
{{- $_ := set $settings "headers" (dict "authorization" "Bearer ${file:/etc/kaizen-otel/destinations/jaeger-bearer/token}") -}}
{{- end -}}
{{- if $settings -}}{{- $_ := set $exporters "otlp_grpc/jaeger" $settings -}}{{- end -}}
{{- $tls = include "kaizen-otel.exporterTls" (list "prometheus" $d.prometheus.tls) | fromJson -}}
{{- $settings = dict -}}
{{- if $tls -}}{{- $_ := set $settings "tls" $tls -}}{{- end -}}
{{- if $d.prometheus.bearerSecret.name -}}
{{- $_ := set $settings "headers" (dict "Authorization" "Bearer ${file:/etc/kaizen-otel/destinations/prometheus-bearer/token}") -}}
{{- end -}}
{{- if $settings -}}
{{- $_ := set $exporters (ternary "otlp_http/prometheus" "prometheus_remote_write" (eq $d.prometheus.protocol "otlp")) $settings -}}
{{- end -}}
{{- $tls = include "kaizen-otel.exporterTls" (list "elasticsearch" $d.elasticsearch.tls) | fromJson -}}
{{- $settings = dict -}}
{{- if $tls -}}{{- $_ := set $settings "tls" $tls -}}{{- end -}}
{{- if $d.elasticsearch.basicSecret.name -}}
{{- $_ := set $settings "user" "${file:/etc/kaizen-otel/destinations/elasticsearch-basic/username}" -}}
{{- $_ := set $settings "password" "${file:/etc/kaizen-otel/destinations/elasticsearch-basic/password}" -}}
{{- end -}}
{{- if $d.elasticsearch.apiKeySecret.name -}}
{{- $_ := set $settings "api_key" "${file:/etc/kaizen-otel/destinations/elasticsearch-api-key/api-key}" -}}
{{- end -}}
{{- if $settings -}}{{- $_ := set $exporters "elasticsearch" $settings -}}{{- end -}}
{{- range $d.extra -}}
{{- $_ := set $exporters (include "kaizen-otel.extraName" .) (include "kaizen-otel.extraExporter" . | fromJson) -}}
{{- end -}}
{{- toJson $exporters -}}
{{- end -}}

{{/* The port of an endpoint, for the NetworkPolicy: what stands behind the last colon, else the scheme's. */}}
{{- define "kaizen-otel.port" -}}
{{- $authority := regexReplaceAll "^[a-z]+://" . "" | splitList "/" | first -}}
{{- $port := regexFind ":[0-9]+$" $authority | trimPrefix ":" -}}
{{- $port | default (ternary "443" "80" (hasPrefix "https://" .)) -}}
{{- end -}}

{{/* The ports of all destinations, each once, as a JSON list. */}}
{{- define "kaizen-otel.destinationPorts" -}}
{{- $root := . -}}
{{- $ports := dict -}}
{{- range list "jaeger" "prometheus" "elasticsearch" -}}
{{- $_ := set $ports (include "kaizen-otel.endpoint" (list $root .) | include "kaizen-otel.port") "" -}}
{{- end -}}
{{- range .Values.destinations.extra -}}{{- $_ := set $ports (include "kaizen-otel.port" .endpoint) "" -}}{{- end -}}
{{- keys $ports | sortAlpha | toJson -}}
{{- end -}}
