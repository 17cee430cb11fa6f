{{/*
The pod of a tier: dict "root" $ "tier" "gateway". It keeps the Pod Security level "restricted".
*/}}
{{- define "kaizen-otel.podMetadata" -}}
# Without the chart's version: an upgrade that changes nothing of a pod leaves it running.
labels:
  {{- include "kaizen-otel.selectorLabels" . | nindent 2 }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .root.Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* What every pod of this chart begins with: dict "root" $ "user" 10001 */}}
{{- define "kaizen-otel.podSecurity" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ .user }}
  runAsGroup: {{ .user }}
  fsGroup: {{ .user }}
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{/* Nothing, or dict "isWritable" true for a program that writes beside itself. */}}
{{- define "kaizen-otel.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: {{ not .isWritable }}
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- define "kaizen-otel.ports" -}}
{{- if eq .tier "audit" -}}
- {name: audit, containerPort: 4319}
{{- else -}}
- {name: otlp-grpc, containerPort: 4317}
- {name: otlp-http, containerPort: 4318}
{{- end }}
- {name: health, containerPort: 13133}
- {name: metrics, containerPort: 8888}
{{- end -}}

{{/* A share of a quantity of bytes, in MiB: list "1Gi" 0.8 */}}
{{- define "kaizen-otel.mebibytes" -}}
{{- $text := toString (index . 0) -}}
{{- $units := dict "" 1 "m" 0.001 "k" 1e3 "M" 1e6 "G" 1e9 "T" 1e12 "P" 1e15 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 "Pi" 1125899906842624 -}}
{{- $unit := regexFind "(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)$" $text -}}
{{- divf (mulf (trimSuffix $unit $text | float64) (get $units $unit) (index . 1)) 1048576 | floor | int64 -}}
{{- end -}}

{{/* NAME -> value of everything that the Collector of a tier reads and that is no secret, as JSON. */}}
{{- define "kaizen-otel.variables" -}}
{{- $root := .root -}}
{{- $v := $root.Values -}}
{{- $memory := include "kaizen-otel.mebibytes" (list (index $v .tier).resources.limits.memory 0.8) -}}
{{- /* Inside the pod's own network; who reaches it is the NetworkPolicy's business. */ -}}
{{- $found := dict "KAIZEN_OTEL_BIND" "0.0.0.0" "GOMEMLIMIT" (printf "%sMiB" $memory) -}}
{{- if eq .tier "audit" -}}
{{- $_ := set $found "KAIZEN_OTEL_AUDIT_DIR" "/var/lib/kaizen-otel/audit" -}}
{{- else -}}
{{- $_ := set $found "KAIZEN_OTEL_QUEUE_DIR" "/var/lib/kaizen-otel/queue" -}}
{{- end -}}
{{- if eq .tier "agent" -}}
{{- $_ := set $found "KAIZEN_OTEL_MEMORY_MIB" $memory -}}
{{- $gateway := include "kaizen-otel.host" (dict "root" $root "tier" "gateway") -}}
{{- $_ := set $found "KAIZEN_OTEL_GATEWAY_ENDPOINT" (printf "%s:4317" $gateway) -}}
{{- $_ := set $found "KAIZEN_OTEL_GATEWAY_INSECURE" (toString (not $v.tls.enabled)) -}}
{{- if $v.tls.enabled -}}
{{- $_ := set $found "KAIZEN_OTEL_GATEWAY_CA_FILE" "/etc/kaizen-otel/tls/ca.crt" -}}
{{- if $v.tls.clients.required -}}
{{- $own := ternary "/etc/kaizen-otel/tls/server" "/etc/kaizen-otel/client/tls" $v.tls.certManager.enabled -}}
{{- $_ := set $found "KAIZEN_OTEL_GATEWAY_CERT_FILE" (printf "%s.crt" $own) -}}
{{- $_ := set $found "KAIZEN_OTEL_GATEWAY_KEY_FILE" (printf "%s.key" $own) -}}
{{- end -}}
{{- end -}}
{{- else if eq .tier "gateway" -}}
{{- $_ := set $found "KAIZEN_OTEL_AUDIT_DIR" "/var/lib/kaizen-otel/audit" -}}
{{- $_ := set $found "KAIZEN_OTEL_DEAD_LETTER_DIR" "/var/lib/kaizen-otel/dead-letter" -}}
{{- $_ := set $found "JAEGER_OTLP_ENDPOINT" (include "kaizen-otel.endpoint" (list $root "jaeger")) -}}
{{- $_ := set $found "ELASTICSEARCH_ENDPOINT" (include "kaizen-otel.endpoint" (list $root "elasticsearch")) -}}
{{- $isOtlp := eq $v.destinations.prometheus.protocol "otlp" -}}
{{- $_ := set $found (ternary "PROMETHEUS_OTLP_ENDPOINT" "PROMETHEUS_REMOTE_WRITE_ENDPOINT" $isOtlp) (include "kaizen-otel.endpoint" (list $root "prometheus")) -}}
{{- with $v.gateway.tailSampling -}}{{- if .enabled -}}
{{- $_ := set $found "KAIZEN_OTEL_SAMPLING_WAIT" (printf "%ds" (int .waitSeconds)) -}}
{{- $_ := set $found "KAIZEN_OTEL_SAMPLING_SLOW_MS" (toString .slowMilliseconds) -}}
{{- $_ := set $found "KAIZEN_OTEL_SAMPLING_PERCENTAGE" (toString .percentage) -}}
{{- end -}}{{- end -}}
{{- end -}}
{{- merge $found (include "kaizen-otel.securityVariables" . | fromJson) | toJson -}}
{{- end -}}

{{/* The Collector's container: dict "root" $ "tier" "gateway" "validate" false */}}
{{- define "kaizen-otel.collector" -}}
name: {{ ternary (printf "validate-%s" .tier) "collector" .validate }}
image: {{ include "kaizen-otel.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args:
  {{- if .validate }}
  - validate
  {{- end }}
  {{- include "kaizen-otel.configArguments" . | nindent 2 }}
env:
  {{- range $name, $value := include "kaizen-otel.variables" . | fromJson }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
  {{- end }}
  {{- range include "kaizen-otel.secretVariables" . | fromJsonArray }}
  {{- include "kaizen-otel.secretVariable" . | nindent 2 }}
  {{- end }}
{{- with (index .root.Values .tier).environmentSecrets }}
envFrom:
  {{- range . }}
  - secretRef: {name: {{ . | quote }}}
  {{- end }}
{{- end }}
{{ include "kaizen-otel.containerSecurity" dict }}
resources:
  {{- toYaml (index .root.Values .tier).resources | nindent 2 }}
volumeMounts:
  - {name: {{ ternary (printf "config-%s" .tier) "config" .validate }}, mountPath: /etc/kaizen-otel/config, readOnly: true}
  - {name: data, mountPath: /var/lib/kaizen-otel}
  {{- range include "kaizen-otel.secretFiles" . | fromJsonArray }}
  - {name: {{ ternary (printf "%s-%s" $.tier .volume) .volume $.validate }}, mountPath: {{ .path }}, readOnly: true}
  {{- end }}
{{- end -}}

{{/* The volumes of a tier's Secrets; for validation what cert-manager has not made yet may lack. */}}
{{- define "kaizen-otel.secretVolumes" -}}
{{- range include "kaizen-otel.secretFiles" . | fromJsonArray }}
- name: {{ ternary (printf "%s-%s" $.tier .volume) .volume $.validate }}
  secret:
    secretName: {{ .secret | quote }}
    {{- if and $.validate $.root.Values.tls.certManager.enabled (eq .volume "tls") }}
    optional: true
    {{- end }}
    items:
      {{- toYaml .items | nindent 6 }}
{{- end }}
{{- end -}}
