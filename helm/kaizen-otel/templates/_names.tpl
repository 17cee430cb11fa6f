{{/* Names, labels and images. Selector labels never change between chart versions: they are immutable. */}}

{{- define "kaizen-otel.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{/* 40 characters at most, so that "-gateway-" and a hash still fit into 63, "-verify-99" into a CronJob's 52. */}}
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

{{/* The tiers of this release that run a Collector, as a JSON list. */}}
{{- define "kaizen-otel.tiers" -}}
{{- $tiers := list "gateway" -}}
{{- if .Values.agent.enabled -}}{{- $tiers = append $tiers "agent" -}}{{- end -}}
{{- if .Values.audit.enabled -}}{{- $tiers = append $tiers "audit" -}}{{- end -}}
{{- toJson $tiers -}}
{{- end -}}

{{- define "kaizen-otel.selectorLabels" -}}
app.kubernetes.io/name: {{ include "kaizen-otel.name" .root | quote }}
app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
app.kubernetes.io/component: {{ .tier }}
{{- end -}}

{{- define "kaizen-otel.labels" -}}
{{ include "kaizen-otel.selectorLabels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* What every object of a tier begins with. */}}
{{- define "kaizen-otel.metadata" -}}
name: {{ include "kaizen-otel.tierName" . }}{{ with .suffix }}-{{ . }}{{ end }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "kaizen-otel.labels" . | nindent 2 }}
{{- end -}}

{{- define "kaizen-otel.serviceAccountName" -}}
{{- default (include "kaizen-otel.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{/* An image's name: list "repository" "tag" "digest"; the digest wins. */}}
{{- define "kaizen-otel.reference" -}}
{{- if index . 2 -}}
{{- printf "%s@%s" (index . 0) (index . 2) -}}
{{- else -}}
{{- printf "%s:%s" (index . 0) (index . 1) -}}
{{- end -}}
{{- end -}}

{{- define "kaizen-otel.image" -}}
{{- $image := .Values.image -}}
{{- $repository := ternary $image.repository (printf "%s/kaizen-otel-collector" $image.registry) (eq $image.distribution "contrib") -}}
{{- include "kaizen-otel.reference" (list $repository (default .Chart.AppVersion $image.tag) $image.digest) -}}
{{- end -}}

{{- define "kaizen-otel.toolsImage" -}}
{{- $image := .Values.image -}}
{{- $repository := printf "%s/%s" $image.registry $image.tools.repository -}}
{{- include "kaizen-otel.reference" (list $repository (default .Chart.Version $image.tools.tag) $image.tools.digest) -}}
{{- end -}}

{{/* http or https: how the receivers are spoken to. */}}
{{- define "kaizen-otel.scheme" -}}
{{- ternary "https" "http" .Values.tls.enabled -}}
{{- end -}}

{{/* The address of a tier's Service, without a port. */}}
{{- define "kaizen-otel.host" -}}
{{- printf "%s.%s" (include "kaizen-otel.tierName" .) .root.Release.Namespace -}}
{{- end -}}
