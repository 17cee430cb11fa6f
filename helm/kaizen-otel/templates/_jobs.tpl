{{/* Pods of our tools: verification, pruning, helm test. */}}

{{/* The files that the tools read from Secrets, as a JSON list: dict "root" $ "tier" "verify" */}}
{{- define "kaizen-otel.toolsFiles" -}}
{{- $v := .root.Values -}}
{{- $found := list -}}
{{- if or (eq .tier "test") (eq .tier "verify") -}}
{{- if $v.tls.enabled -}}
{{- $keys := include "kaizen-otel.serverSecretKeys" .root | fromJson -}}
{{- $server := include "kaizen-otel.serverSecretName" (dict "root" .root "tier" "gateway") -}}
{{- $found = append $found (list "ca" "/etc/kaizen-otel/tls" $server (dict $keys.caKey "ca.crt")) -}}
{{- if $v.tls.clients.required -}}
{{- if $v.tls.certManager.enabled -}}
{{- $own := include "kaizen-otel.serverSecretName" (dict "root" .root "tier" "tools") -}}
{{- $found = append $found (list "client" "/etc/kaizen-otel/client" $own (dict "tls.crt" "tls.crt" "tls.key" "tls.key")) -}}
{{- else -}}
{{- $own := $v.tools.clientSecret -}}
{{- $found = append $found (list "client" "/etc/kaizen-otel/client" $own.name (dict $own.certificateKey "tls.crt" $own.privateKeyKey "tls.key")) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if or (eq .tier "verify") (eq .tier "prune") -}}
{{- range list (list "trust" $v.audit.trustSecret "trust.json") (list "anchors" $v.audit.anchorsSecret "anchors.json") -}}
{{- $secret := index . 1 -}}
{{- if $secret.name -}}
{{- $found = append $found (list (first .) (printf "/etc/kaizen-otel/%s" (first .)) $secret.name (dict $secret.key (last .))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if eq .tier "prune" -}}
{{- $found = append $found (list "key" "/etc/kaizen-otel/key" $v.audit.prune.keySecret.name (dict $v.audit.prune.keySecret.key "key.pem")) -}}
{{- end -}}
{{- $files := list -}}
{{- range $found -}}{{- $files = append $files (include "kaizen-otel.secretFile" . | fromJson) -}}{{- end -}}
{{- toJson $files -}}
{{- end -}}

{{/* NAME -> value for the tools, as JSON. */}}
{{- define "kaizen-otel.toolsVariables" -}}
{{- $v := .root.Values -}}
{{- $found := dict "HOME" "/tmp" "XDG_STATE_HOME" "/tmp" "KAIZEN_OTEL_AUDIT_DIR" "/var/lib/kaizen-otel/audit" -}}
{{- if or (eq .tier "test") (eq .tier "verify") -}}
{{- /* The test goes the agents' way; the node of a volume need not have an agent tier. */ -}}
{{- $tier := ternary "agent" "gateway" (and (eq .tier "test") $v.agent.enabled) -}}
{{- $_ := set $found "OTEL_EXPORTER_OTLP_ENDPOINT" (include "kaizen-otel.tierUrl" (dict "root" .root "tier" $tier)) -}}
{{- if $v.audit.enabled -}}{{- $_ := set $found "KAIZEN_OTEL_AUDIT_ENDPOINT" (include "kaizen-otel.auditUrl" .root) -}}{{- end -}}
{{- if $v.tls.enabled -}}
{{- $_ := set $found "OTEL_EXPORTER_OTLP_CERTIFICATE" "/etc/kaizen-otel/tls/ca.crt" -}}
{{- if $v.tls.clients.required -}}
{{- $_ := set $found "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" "/etc/kaizen-otel/client/tls.crt" -}}
{{- $_ := set $found "OTEL_EXPORTER_OTLP_CLIENT_KEY" "/etc/kaizen-otel/client/tls.key" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if include "kaizen-otel.makesKey" . -}}{{- $_ := set $found "KAIZEN_OTEL_SIGNING_KEY" "/tmp/signing.key" -}}{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/*
Not empty where the test's audit record is signed with a key of its own: where nobody says which keys are
trusted, a verifier believes it. Else tools.environmentSecret may hold one that is.
*/}}
{{- define "kaizen-otel.makesKey" -}}
{{- $audit := .root.Values.audit -}}
{{- if and (eq .tier "test") $audit.enabled (not $audit.trustSecret.name) -}}true{{- end -}}
{{- end -}}

{{/* Where telemetry of agents goes: the agent of their node if there is one, else the gateway. */}}
{{- define "kaizen-otel.telemetryUrl" -}}
{{- include "kaizen-otel.tierUrl" (dict "root" . "tier" (ternary "agent" "gateway" .Values.agent.enabled)) -}}
{{- end -}}

{{/* OTLP/HTTP of a tier: dict "root" $ "tier" "gateway" */}}
{{- define "kaizen-otel.tierUrl" -}}
{{- printf "%s://%s:4318" (include "kaizen-otel.scheme" .root) (include "kaizen-otel.host" .) -}}
{{- end -}}

{{- define "kaizen-otel.auditUrl" -}}
{{- printf "%s://%s:4319" (include "kaizen-otel.scheme" .) (include "kaizen-otel.host" (dict "root" . "tier" "audit")) -}}
{{- end -}}

{{/*
The pod: dict "root" $ "tier" "verify" "arguments" (list) "resources" (dict) "claim" "name of a claim, or
empty" "index" 0 "readOnly" true.  A claim is ReadWriteOnce, so the pod must stand on its owner's node.
*/}}
{{- define "kaizen-otel.toolsPod" -}}
{{- $root := .root -}}
{{- $sends := or (eq .tier "test") (eq .tier "verify") -}}
restartPolicy: Never
serviceAccountName: {{ include "kaizen-otel.serviceAccountName" $root | quote }}
{{ include "kaizen-otel.podSecurity" (dict "root" $root "user" 10001) }}
{{- if .claim }}
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels:
            {{- include "kaizen-otel.selectorLabels" (dict "root" $root "tier" "audit") | nindent 12 }}
            statefulset.kubernetes.io/pod-name: {{ include "kaizen-otel.tierName" (dict "root" $root "tier" "audit") }}-{{ .index }}
{{- with $root.Values.audit.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- if include "kaizen-otel.makesKey" . }}
initContainers:
  - name: key
    image: {{ include "kaizen-otel.toolsImage" $root | quote }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    command: [kaizen-otel]
    args: [audit, keys, new, /tmp/signing.key]
    {{- include "kaizen-otel.containerSecurity" dict | nindent 4 }}
    resources:
      {{- toYaml .resources | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
{{- end }}
containers:
  - name: {{ .tier }}
    image: {{ include "kaizen-otel.toolsImage" $root | quote }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    command: [kaizen-otel]
    args:
      {{- toYaml .arguments | nindent 6 }}
    env:
      {{- range $name, $value := include "kaizen-otel.toolsVariables" . | fromJson }}
      - {name: {{ $name }}, value: {{ $value | quote }}}
      {{- end }}
    {{- if and $sends $root.Values.tools.environmentSecret }}
    envFrom:
      - secretRef: {name: {{ $root.Values.tools.environmentSecret | quote }}}
    {{- end }}
    {{- include "kaizen-otel.containerSecurity" dict | nindent 4 }}
    resources:
      {{- toYaml .resources | nindent 6 }}
    volumeMounts:
      - {name: tmp, mountPath: /tmp}
      {{- if .claim }}
      - {name: data, mountPath: /var/lib/kaizen-otel{{ if .readOnly }}, readOnly: true{{ end }}}
      {{- end }}
      {{- range include "kaizen-otel.toolsFiles" . | fromJsonArray }}
      - {name: {{ .volume }}, mountPath: {{ .path }}, readOnly: true}
      {{- end }}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: 64Mi}
  {{- with .claim }}
  - name: data
    persistentVolumeClaim:
      claimName: {{ . }}
  {{- end }}
  {{- range include "kaizen-otel.toolsFiles" . | fromJsonArray }}
  - name: {{ .volume }}
    secret:
      secretName: {{ .secret | quote }}
      items:
        {{- toYaml .items | nindent 8 }}
  {{- end }}
{{- end -}}

{{/* A CronJob for one volume: the arguments of toolsPod and "schedule" "..." */}}
{{- define "kaizen-otel.cronJob" -}}
apiVersion: batch/v1
kind: CronJob
metadata:
  {{- include "kaizen-otel.metadata" (merge (dict "suffix" (toString .index)) .) | nindent 2 }}
spec:
  schedule: {{ .schedule | quote }}
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 3600
  successfulJobsHistoryLimit: 1
  failedJobsHistoryLimit: 3
  jobTemplate:
    spec:
      # The same volume gives the same verdict.
      backoffLimit: 0
      activeDeadlineSeconds: 21600
      template:
        metadata:
          {{- include "kaizen-otel.podMetadata" . | nindent 10 }}
        spec:
          {{- include "kaizen-otel.toolsPod" . | nindent 10 }}
{{- end -}}

{{/* Where `helm test` asks for a signal, or of the demo's backend: list $ "jaeger" */}}
{{- define "kaizen-otel.queryUrl" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $url := get $root.Values.test (printf "%sUrl" $name) -}}
{{- if not $root.Values.demo.enabled -}}
{{- $url -}}
{{- else -}}
{{- $tier := ternary "opensearch" $name (eq $name "elasticsearch") -}}
{{- $port := get (dict "jaeger" "16686" "prometheus" "9090" "elasticsearch" "9200") $name -}}
{{- printf "http://%s:%s" (include "kaizen-otel.host" (dict "root" $root "tier" (printf "demo-%s" $tier))) $port -}}
{{- end -}}
{{- end -}}
