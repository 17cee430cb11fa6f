{{/* The running pod of a tier: dict "root" $ "tier" "gateway" "validate" false */}}
{{- define "kaizen-otel.podSpec" -}}
{{- $root := .root -}}
{{- $values := index $root.Values .tier -}}
serviceAccountName: {{ include "kaizen-otel.serviceAccountName" $root | quote }}
{{ include "kaizen-otel.podSecurity" (dict "root" $root "user" 10001) }}
# Enough to flush after the sleep; the Collector itself stops on SIGTERM.
terminationGracePeriodSeconds: {{ add $root.Values.preStopSleepSeconds 30 }}
{{- if and (eq .tier "audit") $root.Values.audit.guard.enabled }}
initContainers:
  {{- include "kaizen-otel.guard" $root | nindent 2 }}
{{- end }}
containers:
  - {{- include "kaizen-otel.collector" . | nindent 4 }}
    ports:
      {{- include "kaizen-otel.ports" . | nindent 6 }}
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
volumes:
  - name: config
    configMap:
      name: {{ include "kaizen-otel.configName" . }}
  {{- if include "kaizen-otel.isEphemeral" . }}
  - name: data
    emptyDir: {sizeLimit: {{ $values.queue.size }}}
  {{- end }}
  {{- with include "kaizen-otel.secretVolumes" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
{{- if ne .tier "agent" }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: {{ $root.Values.topologySpread.key | quote }}
    whenUnsatisfiable: {{ $root.Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "kaizen-otel.selectorLabels" . | nindent 8 }}
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

{{/* Not empty where a tier's data goes with its pod. */}}
{{- define "kaizen-otel.isEphemeral" -}}
{{- if or (eq .tier "agent") (and (eq .tier "gateway") (not .root.Values.gateway.queue.persistent)) -}}true{{- end -}}
{{- end -}}

{{/* A native sidecar: unready, and so is its pod, before the trail's disk is full or fails. */}}
{{- define "kaizen-otel.guard" -}}
- name: guard
  image: {{ include "kaizen-otel.toolsImage" . | quote }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  restartPolicy: Always
  command: [kaizen-otel, audit, guard]
  args:
    - --directory=/var/lib/kaizen-otel/audit
    - --min-free={{ mul .Values.audit.guard.minFreeMebibytes 1048576 }}
    - --listen=0.0.0.0:13134
  ports:
    - {name: guard, containerPort: 13134}
  {{- include "kaizen-otel.containerSecurity" dict | nindent 2 }}
  resources:
    {{- toYaml .Values.audit.guard.resources | nindent 4 }}
  readinessProbe:
    httpGet: {path: /ready, port: guard}
    periodSeconds: 2
    timeoutSeconds: 5
    failureThreshold: 1
  # Not /ready: a full disk is no reason to start again.
  livenessProbe:
    tcpSocket: {port: guard}
    periodSeconds: 10
    failureThreshold: 6
  volumeMounts:
    - {name: data, mountPath: /var/lib/kaizen-otel}
{{- end -}}

{{/* A claim of its own for each pod. */}}
{{- define "kaizen-otel.claim" -}}
metadata:
  name: data
spec:
  accessModes: [ReadWriteOnce]
  {{- with .storageClass }}
  storageClassName: {{ . | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ .size }}
{{- end -}}

{{/* The Certificate of a tier: dict "root" $ "tier" "gateway" */}}
{{- define "kaizen-otel.certificate" -}}
{{- $manager := .root.Values.tls.certManager -}}
{{- $name := include "kaizen-otel.tierName" . -}}
{{- $host := include "kaizen-otel.host" . -}}
apiVersion: cert-manager.io/v1
kind: Certificate
metadata:
  {{- include "kaizen-otel.metadata" . | nindent 2 }}
spec:
  secretName: {{ $name }}-tls
  duration: {{ $manager.duration }}
  renewBefore: {{ $manager.renewBefore }}
  privateKey: {algorithm: ECDSA, size: 256, rotationPolicy: Always}
  # The agent tier and the tools show theirs to the gateway as well.
  usages: [server auth, client auth]
  dnsNames: [{{ $name }}, {{ $host }}, {{ $host }}.svc, {{ $host }}.svc.cluster.local]
  issuerRef: {name: {{ $manager.issuer.name | quote }}, kind: {{ $manager.issuer.kind }}, group: cert-manager.io}
{{- end -}}
