{{/*
The pod of a tier: dict "root" $ "tier" "gateway". It keeps the Pod Security level "restricted".
*/}}
{{- define "kaizen-otel.podMetadata" -}}
labels:
  {{- include "kaizen-otel.labels" . | nindent 2 }}
  {{- with .root.Values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .root.Values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "kaizen-otel.ports" -}}
{{- if eq .tier "gateway" }}
- {name: otlp-grpc, containerPort: 4317}
- {name: otlp-http, containerPort: 4318}
{{- else }}
- {name: audit, containerPort: 4319}
{{- end }}
- {name: health, containerPort: 13133}
- {name: metrics, containerPort: 8888}
{{- end -}}

{{- define "kaizen-otel.podSpec" -}}
{{- $root := .root -}}
{{- $values := index $root.Values .tier -}}
serviceAccountName: {{ include "kaizen-otel.serviceAccountName" $root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
# Enough to flush after the sleep; the Collector itself stops on SIGTERM.
terminationGracePeriodSeconds: {{ add $root.Values.preStopSleepSeconds 30 }}
containers:
  - name: collector
    image: {{ include "kaizen-otel.image" $root }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    args:
      - --config=/etc/kaizen-otel/config/gateway.yaml
      {{- if and (eq .tier "gateway") (include "kaizen-otel.destinations" $root) }}
      - --config=/etc/kaizen-otel/config/destinations.yaml
      {{- end }}
    env:
      # Inside the pod's own network; who reaches it is the NetworkPolicy's business.
      - {name: KAIZEN_OTEL_BIND, value: "0.0.0.0"}
      - {name: KAIZEN_OTEL_QUEUE_DIR, value: /var/lib/kaizen-otel/queue}
      - {name: KAIZEN_OTEL_AUDIT_DIR, value: /var/lib/kaizen-otel/audit}
      - {name: KAIZEN_OTEL_DEAD_LETTER_DIR, value: /var/lib/kaizen-otel/dead-letter}
      {{- if eq .tier "gateway" }}
      {{- include "kaizen-otel.destinationEnv" $root | nindent 6 }}
      {{- end }}
    ports:
      {{- include "kaizen-otel.ports" . | trim | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      runAsNonRoot: true
      capabilities: {drop: [ALL]}
    resources:
      {{- toYaml $values.resources | nindent 6 }}
    startupProbe:
      httpGet: {path: /, port: health}
      periodSeconds: 1
      failureThreshold: 60
    readinessProbe:
      httpGet: {path: /, port: health}
      periodSeconds: 5
    livenessProbe:
      httpGet: {path: /, port: health}
      periodSeconds: 10
      failureThreshold: 6
    lifecycle:
      preStop:
        sleep: {seconds: {{ $root.Values.preStopSleepSeconds }}}
    volumeMounts:
      - {name: config, mountPath: /etc/kaizen-otel/config, readOnly: true}
      - {name: data, mountPath: /var/lib/kaizen-otel}
      {{- if eq .tier "gateway" }}
      {{- range $name, $_ := include "kaizen-otel.authorities" $root | fromYaml }}
      - {name: ca-{{ $name }}, mountPath: /etc/kaizen-otel/ca/{{ $name }}, readOnly: true}
      {{- end }}
      {{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "kaizen-otel.configName" . }}
  {{- if and (eq .tier "gateway") (not $values.queue.persistent) }}
  - name: data
    emptyDir: {sizeLimit: {{ $values.queue.size }}}
  {{- end }}
  {{- if eq .tier "gateway" }}
  {{- range $name, $secret := include "kaizen-otel.authorities" $root | fromYaml }}
  - name: ca-{{ $name }}
    secret:
      secretName: {{ $secret.name }}
      items:
        - {key: {{ $secret.key }}, path: ca.crt}
  {{- end }}
  {{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* A claim of its own for each pod, kept when the StatefulSet shrinks or goes. */}}
{{- define "kaizen-otel.claim" -}}
metadata:
  name: data
spec:
  accessModes: [ReadWriteOnce]
  {{- with .storageClass }}
  storageClassName: {{ . }}
  {{- end }}
  resources:
    requests:
      storage: {{ .size }}
{{- end -}}
