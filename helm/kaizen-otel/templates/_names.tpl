{{/* Names and labels. Selector labels never change between chart versions: they are immutable. */}}

{{- define "kaizen-otel.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* 40 characters at most, so that "-gateway-" and a hash still fit into 63. */}}
{{- define "kaizen-otel.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "kaizen-otel.name" . -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Arguments of the tier helpers: dict "root" $ "tier" "gateway" */}}
{{- define "kaizen-otel.tierName" -}}
{{- printf "%s-%s" (include "kaizen-otel.fullname" .root) .tier -}}
{{- end -}}

{{- define "kaizen-otel.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kaizen-otel.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .tier }}
{{- end -}}

{{- define "kaizen-otel.labels" -}}
{{ include "kaizen-otel.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "kaizen-otel.serviceAccountName" -}}
{{- default (include "kaizen-otel.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- define "kaizen-otel.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{/*
The configs of a tier: the shipped file, unchanged, and what the destinations add to it.  Both tiers
run the same file, which holds all four routes; what a tier takes is what its Service and its
NetworkPolicy let in.  The Collector merges the files in the order of its arguments.
*/}}
{{- define "kaizen-otel.configData" -}}
gateway.yaml: |
{{ .root.Files.Get "files/gateway.yaml" | trimSuffix "\n" | indent 2 }}
{{- if eq .tier "gateway" }}
{{- with include "kaizen-otel.destinations" .root }}
destinations.yaml: |
{{ . | indent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The hash in the name makes every config a new object: a pod never reads a newer one. */}}
{{- define "kaizen-otel.configName" -}}
{{- printf "%s-%s" (include "kaizen-otel.tierName" .) (include "kaizen-otel.configData" . | sha256sum | trunc 10) -}}
{{- end -}}
