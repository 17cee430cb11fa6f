{{/*
What the destinations add to gateway.yaml: TLS and authentication. Only names of environment
variables and paths stand here; the values come from Secrets (see kaizen-otel.destinationEnv).
Empty when no destination asks for either.
*/}}
{{- define "kaizen-otel.destinations" -}}
{{- $exporters := dict -}}
{{- $jaeger := .Values.destinations.jaeger -}}
{{- $prometheus := .Values.destinations.prometheus -}}
{{- $elasticsearch := .Values.destinations.elasticsearch -}}
{{- $settings := dict -}}
{{- if $jaeger.tls.enabled -}}
{{- $tls := dict "insecure" false -}}
{{- if $jaeger.tls.caSecret.name -}}{{- $_ := set $tls "ca_file" "/etc/kaizen-otel/ca/jaeger/ca.crt" -}}{{- end -}}
{{- $_ := set $settings "tls" $tls -}}
{{- end -}}
{{- if $jaeger.bearerSecret.name -}}
{{- $_ := set $settings "headers" (dict "authorization" "Bearer ${env:JAEGER_BEARER_TOKEN}") -}}
{{- end -}}
{{- if $settings -}}{{- $_ := set $exporters "otlp_grpc/jaeger" $settings -}}{{- end -}}
{{- $settings = dict -}}
{{- if $prometheus.tls.caSecret.name -}}
{{- $_ := set $settings "tls" (dict "ca_file" "/etc/kaizen-otel/ca/prometheus/ca.crt") -}}
{{- end -}}
{{- if $prometheus.bearerSecret.name -}}
{{- $_ := set $settings "headers" (dict "Authorization" "Bearer ${env:PROMETHEUS_BEARER_TOKEN}") -}}
{{- end -}}
{{- if $settings -}}{{- $_ := set $exporters "prometheus_remote_write" $settings -}}{{- end -}}
{{- $settings = dict -}}
{{- if $elasticsearch.tls.caSecret.name -}}
{{- $_ := set $settings "tls" (dict "ca_file" "/etc/kaizen-otel/ca/elasticsearch/ca.crt") -}}
{{- end -}}
{{- if $elasticsearch.basicSecret.name -}}
{{- $_ := set $settings "user" "${env:ELASTICSEARCH_USER}" -}}
{{- $_ := set $settings "password" "${env:ELASTICSEARCH_PASSWORD}" -}}
{{- end -}}
{{- if $elasticsearch.apiKeySecret.name -}}
{{- $_ := set $settings "api_key" "${env:ELASTICSEARCH_API_KEY}" -}}
{{- end -}}
{{- if $settings -}}{{- $_ := set $exporters "elasticsearch" $settings -}}{{- end -}}
{{- if $exporters -}}{{- toYaml (dict "exporters" $exporters) -}}{{- end -}}
{{- end -}}

{{/* One variable from a Secret: list "NAME" (dict "name" "s" "key" "k") */}}
{{- define "kaizen-otel.secretVariable" -}}
{{- $secret := index . 1 -}}
- name: {{ index . 0 }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret.name }}
      key: {{ $secret.key }}
{{- end -}}

{{- define "kaizen-otel.destinationEnv" -}}
{{- $d := .Values.destinations -}}
- name: JAEGER_OTLP_ENDPOINT
  value: {{ $d.jaeger.endpoint | quote }}
- name: PROMETHEUS_REMOTE_WRITE_ENDPOINT
  value: {{ $d.prometheus.endpoint | quote }}
- name: ELASTICSEARCH_ENDPOINT
  value: {{ $d.elasticsearch.endpoint | quote }}
{{- if $d.jaeger.bearerSecret.name }}
{{ include "kaizen-otel.secretVariable" (list "JAEGER_BEARER_TOKEN" $d.jaeger.bearerSecret) }}
{{- end }}
{{- if $d.prometheus.bearerSecret.name }}
{{ include "kaizen-otel.secretVariable" (list "PROMETHEUS_BEARER_TOKEN" $d.prometheus.bearerSecret) }}
{{- end }}
{{- with $d.elasticsearch.basicSecret }}{{- if .name }}
{{ include "kaizen-otel.secretVariable" (list "ELASTICSEARCH_USER" (dict "name" .name "key" .userKey)) }}
{{ include "kaizen-otel.secretVariable" (list "ELASTICSEARCH_PASSWORD" (dict "name" .name "key" .passwordKey)) }}
{{- end }}{{- end }}
{{- if $d.elasticsearch.apiKeySecret.name }}
{{ include "kaizen-otel.secretVariable" (list "ELASTICSEARCH_API_KEY" $d.elasticsearch.apiKeySecret) }}
{{- end }}
{{- end -}}

{{/* The destinations that bring a certificate authority, as "name: {name, key}". */}}
{{- define "kaizen-otel.authorities" -}}
{{- $found := dict -}}
{{- range $name, $destination := .Values.destinations -}}
{{- if $destination.tls.caSecret.name -}}{{- $_ := set $found $name $destination.tls.caSecret -}}{{- end -}}
{{- end -}}
{{- toYaml $found -}}
{{- end -}}

{{/* The port of an endpoint, for the NetworkPolicy: what stands behind the last colon, else the scheme's. */}}
{{- define "kaizen-otel.port" -}}
{{- $authority := regexReplaceAll "^[a-z]+://" . "" | splitList "/" | first -}}
{{- $port := regexFind ":[0-9]+$" $authority | trimPrefix ":" -}}
{{- $port | default (ternary "443" "80" (hasPrefix "https://" .)) -}}
{{- end -}}
